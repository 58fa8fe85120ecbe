//! ResNet backbones, neck and head with torchvision's parameter names; weights in and out.
