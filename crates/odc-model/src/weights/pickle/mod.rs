//! Reads Python's pickles as data: lists, dictionaries and tensors. What a pickle would call is never called.
//!
//! A pickle is a program for a small stack machine, and Python runs whatever function it names. Here a name is only text:
//! the few that stand for a dictionary or a tensor are understood, every other result is [`Object::Opaque`]. Objects refer to
//! each other by number, so neither a deep nor a circular pickle exhausts the stack.

use std::collections::HashMap;

/// The number of an object.
pub(super) type Id = usize;

/// No weights have more axes.
const MOST_AXES: usize = 8;

/// What a pickle puts together.
#[derive(Clone, Debug)]
pub(super) enum Object {
    Int(i64),
    Text(String),
    /// The name of a class or function, with its module: `torch.FloatStorage`.
    Name(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// What PyTorch keeps outside of the pickle, by its description.
    Persistent(Id),
    Tensor(PickledTensor),
    /// Anything that weights are not made of.
    Opaque,
}

/// A view of a storage.
#[derive(Clone, Debug)]
pub(super) struct PickledTensor {
    /// As PyTorch calls it: `FloatStorage`.
    pub(super) storage_class: String,
    pub(super) storage_key: String,
    /// In numbers, as strides are.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// All objects of one pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    objects: Vec<Object>,
    root: Id,
    /// Where the next pickle in the same bytes begins.
    pub(super) end: usize,
}

impl Pickle {
    /// Reads the pickle at the start of `bytes`.
    ///
    /// # Errors
    /// Says what is wrong where the bytes are no whole pickle.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, String> {
        let mut machine = Machine { bytes, ..Machine::default() };
        loop {
            let code = machine.byte()?;
            if code == b'.' {
                let root = machine.pop()?;
                return Ok(Self { objects: machine.objects, root, end: machine.at });
            }
            machine.step(code)?;
        }
    }

    /// What the pickle is of.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn object(&self, id: Id) -> &Object {
        // Every number was given out by the machine.
        self.objects.get(id).unwrap_or(&Object::Opaque)
    }

    /// Class and key of every storage that PyTorch keeps outside.
    pub(super) fn storages(&self) -> impl Iterator<Item = (&str, &str)> {
        self.objects.iter().filter_map(|object| match object {
            Object::Persistent(description) => storage(&self.objects, *description),
            _ => None,
        })
    }

    /// The text of a dictionary's key.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        text_of(&self.objects, id)
    }
}

#[derive(Default)]
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    objects: Vec<Object>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: HashMap<usize, Id>,
}

type Step<T = ()> = Result<T, String>;

impl Machine<'_> {
    /// One instruction; the letters are those of Python's `pickletools`.
    fn step(&mut self, code: u8) -> Step {
        match code {
            // Versions and frames say nothing that is needed.
            0x80 => self.skip(1),
            0x95 => self.skip(8),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(drop),
            b'1' => self.pop_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' | 0x88 | 0x89 => self.push(Object::Opaque),
            b'K' => self.unsigned(1).and_then(|value| self.push_length(value)),
            b'M' => self.unsigned(2).and_then(|value| self.push_length(value)),
            b'J' => {
                let value = self.unsigned(4)? as u32 as i32;
                self.push(Object::Int(i64::from(value)))
            }
            0x8a => self.unsigned(1).and_then(|length| self.long(length)),
            0x8b => self.unsigned(4).and_then(|length| self.long(length)),
            b'I' | b'L' => {
                let line = self.line()?;
                let value = line.trim_end_matches('L').parse::<i64>();
                self.push(value.map_or(Object::Opaque, Object::Int))
            }
            b'F' => self.line().and_then(|_| self.push(Object::Opaque)),
            b'G' => self.skip(8).and_then(|()| self.push(Object::Opaque)),
            b'S' => {
                let line = self.line()?;
                self.push(Object::Text(line.trim_matches(['\'', '"']).to_owned()))
            }
            b'V' => {
                let line = self.line()?;
                self.push(Object::Text(line))
            }
            0x8c | b'U' => self.unsigned(1).and_then(|length| self.text(length)),
            b'X' | b'T' => self.unsigned(4).and_then(|length| self.text(length)),
            0x8d => self.unsigned(8).and_then(|length| self.text(length)),
            b'C' => self.unsigned(1).and_then(|length| self.opaque(length)),
            b'B' => self.unsigned(4).and_then(|length| self.opaque(length)),
            0x8e | 0x96 => self.unsigned(8).and_then(|length| self.opaque(length)),
            b']' | 0x8f => self.push(Object::List(Vec::new())),
            b')' => self.push(Object::Tuple(Vec::new())),
            b'}' => self.push(Object::Dict(Vec::new())),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Object::Tuple(items))
            }
            0x85..=0x87 => {
                let mut items = (0..code - 0x84).map(|_| self.pop()).collect::<Step<Vec<_>>>()?;
                items.reverse();
                self.push(Object::Tuple(items))
            }
            b'l' | 0x91 => {
                let items = self.pop_mark()?;
                self.push(Object::List(items))
            }
            b'd' => {
                let items = self.pop_mark()?;
                self.push(Object::Dict(pairs(&items)))
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(&[item])
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.extend(&items)
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.insert(&[key, value])
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.insert(&items)
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Object::Name(format!("{module}.{name}")))
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = text_of(&self.objects, module).zip(text_of(&self.objects, name));
                let name = name.map_or(Object::Opaque, |(module, name)| Object::Name(format!("{module}.{name}")));
                self.push(name)
            }
            b'P' => {
                self.line()?;
                self.push(Object::Opaque)
            }
            b'Q' => {
                let description = self.pop()?;
                self.push(Object::Persistent(description))
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = match self.python_2_pairs(function, arguments) {
                    Some(list) => self.ordered(list),
                    None => self.result(function, arguments),
                };
                self.push(result)
            }
            0x92 => {
                for _ in 0..3 {
                    self.pop()?;
                }
                self.push(Object::Opaque)
            }
            b'i' => {
                self.line()?;
                self.line()?;
                self.pop_mark()?;
                self.push(Object::Opaque)
            }
            b'o' => {
                self.pop_mark()?;
                self.push(Object::Opaque)
            }
            // The state of an object. That of an ordered dictionary is PyTorch's note of versions.
            b'b' => self.pop().map(drop),
            b'h' => self.unsigned(1).and_then(|slot| self.recall(slot)),
            b'j' => self.unsigned(4).and_then(|slot| self.recall(slot)),
            b'g' => {
                let slot = self.slot()?;
                self.recall(slot)
            }
            b'q' => self.unsigned(1).and_then(|slot| self.remember(slot)),
            b'r' => self.unsigned(4).and_then(|slot| self.remember(slot)),
            b'p' => {
                let slot = self.slot()?;
                self.remember(slot)
            }
            0x94 => self.remember(self.memo.len()),
            other => Err(format!("instruction {other:#04x} at byte {} is none of a pickle", self.at - 1)),
        }
    }

    /// What a call gives, where it is one of those that weights are made of. Nothing is called.
    fn result(&self, function: Id, arguments: Id) -> Object {
        let (Some(Object::Name(name)), Some(Object::Tuple(arguments))) =
            (self.objects.get(function), self.objects.get(arguments))
        else {
            return Object::Opaque;
        };
        match name.as_str() {
            "collections.OrderedDict" | "collections.defaultdict" => Object::Dict(Vec::new()),
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor" => {
                self.tensor(arguments).map_or(Object::Opaque, Object::Tensor)
            }
            "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state" => {
                match arguments.first().and_then(|data| self.objects.get(*data)) {
                    Some(Object::Tensor(data)) => Object::Tensor(data.clone()),
                    _ => Object::Opaque,
                }
            }
            "torch._tensor._rebuild_from_type_v2" => match arguments.as_slice() {
                // The inner call is one for a tensor or parameter, whose arguments hold no such call again.
                [function, _, arguments, ..] => match self.objects.get(*function) {
                    Some(Object::Name(name)) if name != "torch._tensor._rebuild_from_type_v2" => {
                        self.result(*function, *arguments)
                    }
                    _ => Object::Opaque,
                },
                _ => Object::Opaque,
            },
            _ => Object::Opaque,
        }
    }

    /// The list of pairs that Python 2 makes an ordered dictionary of.
    fn python_2_pairs(&self, function: Id, arguments: Id) -> Option<Id> {
        let (Object::Name(name), Object::Tuple(arguments)) =
            (self.objects.get(function)?, self.objects.get(arguments)?)
        else {
            return None;
        };
        let is_list = |id: &&Id| matches!(self.objects.get(**id), Some(Object::List(_)));
        arguments.first().filter(is_list).filter(|_| name == "collections.OrderedDict").copied()
    }

    /// The list's pairs move: a hostile pickle that gives one long list again and again fills no memory.
    fn ordered(&mut self, list: Id) -> Object {
        let items = match self.objects.get_mut(list) {
            Some(Object::List(items)) => std::mem::take(items),
            _ => Vec::new(),
        };
        let pair = |id: &Id| match self.objects.get(*id) {
            Some(Object::List(pair) | Object::Tuple(pair)) => <[Id; 2]>::try_from(pair.as_slice()).ok(),
            _ => None,
        };
        Object::Dict(items.iter().filter_map(pair).map(|[key, value]| (key, value)).collect())
    }

    fn tensor(&self, arguments: &[Id]) -> Option<PickledTensor> {
        let [place, offset, shape, strides, ..] = arguments else { return None };
        let Object::Persistent(description) = self.objects.get(*place)? else { return None };
        let (class, key) = storage(&self.objects, *description)?;
        let length = |id: &Id| match self.objects.get(*id) {
            Some(Object::Int(value)) => usize::try_from(*value).ok(),
            _ => None,
        };
        let lengths = |id: &Id| match self.objects.get(*id) {
            Some(Object::Tuple(items) | Object::List(items)) if items.len() <= MOST_AXES => {
                items.iter().map(length).collect::<Option<Vec<_>>>()
            }
            _ => None,
        };
        let (shape, strides) = (lengths(shape)?, lengths(strides)?);
        (shape.len() == strides.len()).then_some(())?;
        Some(PickledTensor {
            storage_class: class.to_owned(),
            storage_key: key.to_owned(),
            offset: length(offset)?,
            shape,
            strides,
        })
    }

    fn push(&mut self, object: Object) -> Step {
        self.stack.push(self.objects.len());
        self.objects.push(object);
        Ok(())
    }

    fn push_length(&mut self, value: usize) -> Step {
        self.push(Object::Int(value as i64))
    }

    fn top(&self) -> Step<Id> {
        self.stack.last().copied().ok_or_else(|| "an instruction finds nothing to work on".to_owned())
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    /// All above the last mark, which goes.
    fn pop_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        Ok(self.stack.split_off(mark.ok_or("an instruction finds no mark")?))
    }

    fn extend(&mut self, items: &[Id]) -> Step {
        let list = self.top()?;
        if let Some(Object::List(list)) = self.objects.get_mut(list) {
            list.extend(items);
        }
        Ok(())
    }

    fn insert(&mut self, items: &[Id]) -> Step {
        let dict = self.top()?;
        if let Some(Object::Dict(dict)) = self.objects.get_mut(dict) {
            dict.extend(pairs(items));
        }
        Ok(())
    }

    fn remember(&mut self, slot: usize) -> Step {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: usize) -> Step {
        let id = *self.memo.get(&slot).ok_or_else(|| format!("object {slot} is used before it is there"))?;
        self.stack.push(id);
        Ok(())
    }

    fn take(&mut self, length: usize) -> Step<&[u8]> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len()).ok_or("it ends too early")?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn skip(&mut self, length: usize) -> Step {
        self.take(length).map(drop)
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.unsigned(1)? as u8)
    }

    /// A little-endian number of at most 8 bytes.
    fn unsigned(&mut self, length: usize) -> Step<usize> {
        Ok(self.take(length)?.iter().rev().fold(0_usize, |value, byte| (value << 8) | usize::from(*byte)))
    }

    /// A little-endian two's complement; one of more than 8 bytes is no size of anything.
    fn long(&mut self, length: usize) -> Step {
        let bytes = self.take(length)?;
        let sign = if bytes.last().is_some_and(|last| last & 0x80 != 0) { -1_i64 } else { 0 };
        let value = bytes.iter().rev().fold(sign, |value, byte| (value << 8) | i64::from(*byte));
        self.push(if length <= 8 { Object::Int(value) } else { Object::Opaque })
    }

    fn text(&mut self, length: usize) -> Step {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Object::Text(text))
    }

    fn opaque(&mut self, length: usize) -> Step {
        self.skip(length)?;
        self.push(Object::Opaque)
    }

    fn line(&mut self) -> Step<String> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or("it ends too early")?;
        self.at += length + 1;
        Ok(String::from_utf8_lossy(&rest[..length]).trim_end_matches('\r').to_owned())
    }

    fn slot(&mut self) -> Step<usize> {
        self.line()?.parse().map_err(|_| "the number of an object is none".to_owned())
    }
}

fn pairs(items: &[Id]) -> Vec<(Id, Id)> {
    items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect()
}

fn text_of(objects: &[Object], id: Id) -> Option<&str> {
    match objects.get(id)? {
        Object::Text(text) => Some(text),
        _ => None,
    }
}

/// Class and key of a storage, from `("storage", class, key, …)`.
fn storage(objects: &[Object], description: Id) -> Option<(&str, &str)> {
    let Object::Tuple(description) = objects.get(description)? else { return None };
    let [_, class, key, ..] = description.as_slice() else { return None };
    let Object::Name(class) = objects.get(*class)? else { return None };
    Some((class.rsplit('.').next()?, text_of(objects, *key)?))
}

#[cfg(test)]
mod tests;
