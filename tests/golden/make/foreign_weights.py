#!/usr/bin/env python3
"""One tiny ResNet-18 as several programs save it, to test loading.

    foreign_weights.py --out DIR

Writes DIR/foreign/*.pth and DIR/foreign/torchvision.safetensors. The network is that of resnet_ref.py with width 1 and
the stem `small`, filled by fill(net, 23000); in every file its numbers are the same but for those in half precision.
"""
import argparse
import os
import pickle
import zipfile
from collections import OrderedDict

import torch
from safetensors.torch import save_file

from golden import fill
from resnet_ref import ResNet


def renamed(state, f):
    return OrderedDict((f(k), v) for k, v in state.items())


def other(state):
    """A network of the same names and shapes with other numbers. Each tensor is a view of one number: nothing to store."""
    return OrderedDict((k, torch.full((), 7, dtype=v.dtype).expand(v.shape)) for k, v in state.items())


class Command:
    """Unpickling an object of this class in Python makes the folder `pickle-ran-a-command`."""

    def __reduce__(self):
        return os.system, ("mkdir pickle-ran-a-command",)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--out", required=True)
    out = os.path.join(p.parse_args().out, "foreign")
    os.makedirs(out, exist_ok=True)

    def save(name, obj, legacy=False):
        torch.save(obj, os.path.join(out, name + ".pth"), _use_new_zipfile_serialization=not legacy)

    state = OrderedDict(fill(ResNet("resnet18", 1, "small"), 23000).state_dict())
    head = {"fc.weight": torch.ones(3, 8), "fc.bias": torch.ones(3)}
    save_file({**state, **head}, os.path.join(out, "torchvision.safetensors"))
    save("torchvision", OrderedDict({**state, **head}))
    # MoCo's first releases are of the old format.
    encoder = lambda which: lambda k: f"module.{which}.{k}"
    moco = renamed(state, encoder("encoder_q")) | renamed(other(state), encoder("encoder_k"))
    moco |= {"module.queue": torch.ones(8, 4), "module.queue_ptr": torch.zeros(1, dtype=torch.long),
             "module.encoder_q.fc.0.weight": torch.ones(8, 8)}
    save("moco_legacy", {"epoch": 200, "arch": "resnet18", "state_dict": moco,
                         "optimizer": {"state": {0: {"momentum_buffer": torch.ones(3)}}, "param_groups": [{"lr": 0.03}]}},
         legacy=True)
    save("mmselfsup", {"meta": {"epoch": 1, "time": "today"},
                       "state_dict": renamed(state, lambda k: "backbone." + k) | {"head.fc_cls.weight": torch.ones(2, 8)}})
    position = {"conv1": "0", "bn1": "1", "layer1": "4", "layer2": "5", "layer3": "6", "layer4": "7"}
    lightly = renamed(state, lambda k: "backbone." + position[k.split(".")[0]] + k[k.index("."):])
    save("lightly", {"state_dict": lightly | {"projection_head.layers.0.weight": torch.ones(8, 8)},
                     "hyper_parameters": argparse.Namespace(lr=0.1)})
    wrapped = lambda k: "module.backbone." + k
    save("dino", {"student": renamed(other(state), wrapped), "teacher": renamed(state, lambda k: "backbone." + k),
                  "args": argparse.Namespace(arch="resnet18"), "epoch": 3})
    save("half", {k: v.half() if v.is_floating_point() else v for k, v in state.items()})
    # Parameters in place of tensors, one of them in the memory order of channels_last.
    parameters = {k: torch.nn.Parameter(v, requires_grad=False) if v.is_floating_point() else v for k, v in state.items()}
    parameters["layer4.0.conv1.weight"] = state["layer4.0.conv1.weight"].contiguous(memory_format=torch.channels_last)
    save("swav_parameters", renamed(parameters, lambda k: "module." + k) | {"module.prototypes.weight": torch.ones(4, 8)})

    # A file as an attacker would make it: the weights, and an object that is a command.
    path = os.path.join(out, "command.pth")
    torch.save({"state_dict": state, "extra": Command()}, path)
    # A pickle that is nothing but a command, in PyTorch's archive.
    with zipfile.ZipFile(os.path.join(out, "command_only.pth"), "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Command(), protocol=2))


if __name__ == "__main__":
    main()
