//! The stack machine behind pickles, of which only what holds data is left.

use std::collections::HashMap;
use std::rc::Rc;

use super::{Function, Node, Read, StorageRef, TensorRef, Value};

/// Most values on the stack, and values that are remembered.
const MOST_STACK: usize = 1 << 20;
const MOST_MEMO: usize = 1 << 20;
/// Most open marks: how deeply containers are written inside each other.
const MOST_MARKS: usize = 256;
/// Most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

/// The state of the stack machine.
pub(super) struct Machine<'a> {
    input: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
    stack: Vec<Value>,
    /// Heights of the stack at its open marks.
    marks: Vec<usize>,
    memo: HashMap<u32, Value>,
}

impl<'a> Machine<'a> {
    pub(super) fn new(input: &'a [u8]) -> Self {
        Self { input, at: 0, nodes: Vec::new(), stack: Vec::new(), marks: Vec::new(), memo: HashMap::new() }
    }

    /// Runs up to the end of the pickle. Gives the value it stands for.
    pub(super) fn run(&mut self) -> Read<Value> {
        loop {
            let opcode = self.take::<1>()?[0];
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
            if self.stack.len() > MOST_STACK || self.marks.len() > MOST_MARKS {
                return Err("nests too deeply".into());
            }
        }
    }

    /// All containers, and the bytes read.
    pub(super) fn into_nodes(self) -> (Vec<Node>, usize) {
        (self.nodes, self.at)
    }

    fn bytes(&mut self, n: usize) -> Read<&[u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.input.len()).ok_or("is cut short")?;
        let from = std::mem::replace(&mut self.at, end);
        Ok(&self.input[from..end])
    }

    fn take<const N: usize>(&mut self) -> Read<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.bytes(N)?);
        Ok(out)
    }

    /// Text up to the end of the line.
    fn line(&mut self) -> Read<String> {
        let rest = &self.input[self.at..];
        let n = rest.iter().position(|b| *b == b'\n').ok_or("is cut short")?;
        let text = String::from_utf8(rest[..n].to_vec()).map_err(|_| "holds a name that is not text")?;
        self.at += n + 1;
        Ok(text)
    }

    fn text(&mut self, n: usize) -> Read<Value> {
        let text = std::str::from_utf8(self.bytes(n)?).map_err(|_| "holds a string that is not UTF-8")?;
        Ok(Value::Text(text.into()))
    }

    /// Values above the last mark, or all.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Read<Value> {
        if self.stack.len() <= self.floor() {
            return Err("takes a value that is not there".into());
        }
        self.stack.pop().ok_or_else(|| "takes a value that is not there".into())
    }

    fn pop_marked(&mut self) -> Read<Vec<Value>> {
        let from = self.marks.pop().ok_or("lacks a mark")?;
        Ok(self.stack.split_off(from))
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(Value::Node(self.nodes.len() - 1));
    }

    fn top(&mut self) -> Read<&mut Node> {
        match self.stack.last() {
            Some(Value::Node(i)) if self.stack.len() > self.floor() => Ok(&mut self.nodes[*i]),
            _ => Err("changes what is not a container".into()),
        }
    }

    fn remember(&mut self, index: u32) -> Read<()> {
        let value = self.stack.last().cloned().ok_or("remembers a value that is not there")?;
        if self.memo.len() >= MOST_MEMO {
            return Err("remembers too much".into());
        }
        self.memo.insert(index, value);
        Ok(())
    }

    fn recall(&mut self, index: u32) -> Read<()> {
        let value = self.memo.get(&index).cloned().ok_or("recalls what it does not remember")?;
        self.stack.push(value);
        Ok(())
    }

    fn tuple(&mut self, n: usize) -> Read<()> {
        let from = self.stack.len().checked_sub(n).filter(|from| *from >= self.floor());
        let items = self.stack.split_off(from.ok_or("takes a value that is not there")?);
        self.push(Node::Tuple(items));
        Ok(())
    }

    fn step(&mut self, opcode: u8) -> Read<()> {
        match opcode {
            0x80 => match self.take::<1>()?[0] {
                2 => {}
                other => return Err(format!("is of protocol {other}, not 2")),
            },
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.stack.push(Value::None),
            0x88 | 0x89 => self.stack.push(Value::Bool(opcode == 0x88)),
            b'K' => {
                let value = self.take::<1>()?[0];
                self.stack.push(Value::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.take()?);
                self.stack.push(Value::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                let value = f64::from_be_bytes(self.take()?);
                self.stack.push(Value::Float(value));
            }
            b'X' => {
                let n = u32::from_le_bytes(self.take()?);
                let text = self.text(n as usize)?;
                self.stack.push(text);
            }
            b'U' => {
                let n = self.take::<1>()?[0];
                let text = self.text(n.into())?;
                self.stack.push(text);
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.stack.push(Value::Function(Function::of(&module, &name)?));
            }
            b')' => self.push(Node::Tuple(Vec::new())),
            0x85..=0x87 => self.tuple(usize::from(opcode - 0x84))?,
            b't' => {
                let items = self.pop_marked()?;
                self.push(Node::Tuple(items));
            }
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.pop_marked()?;
                self.append(items)?;
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set_items(vec![key, value])?;
            }
            b'u' => {
                let items = self.pop_marked()?;
                self.set_items(items)?;
            }
            b'q' => {
                let index = self.take::<1>()?[0];
                self.remember(index.into())?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.take()?);
                self.remember(index)?;
            }
            b'h' => {
                let index = self.take::<1>()?[0];
                self.recall(index.into())?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.take()?);
                self.recall(index)?;
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(&id)?;
                self.push(Node::Storage(storage));
            }
            b'R' => self.call()?,
            b'b' => {
                // What PyTorch attaches to a dictionary are versions of modules, which nothing reads.
                let _state = self.pop()?;
                if !matches!(self.top()?, Node::Dict(_)) {
                    return Err("sets the state of what is not a dictionary".into());
                }
            }
            other => return Err(format!("has the opcode {other:#04x}, which tensors do not need")),
        }
        Ok(())
    }

    /// A whole number of up to 8 bytes, or of more, which is then kept as text: the magic number of
    /// the older container has ten.
    fn long(&mut self) -> Read<()> {
        let n = usize::from(self.take::<1>()?[0]);
        let bytes = self.bytes(n)?;
        let value = if n > 8 {
            Value::Text(gim_core::files::hex(bytes).into())
        } else {
            let sign = if bytes.last().is_some_and(|b| *b >= 0x80) { 0xff } else { 0 };
            let mut wide = [sign; 8];
            wide[..n].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        };
        self.stack.push(value);
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Read<()> {
        let Node::List(list) = self.top()? else { return Err("appends to what is not a list".into()) };
        list.extend(items);
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Value>) -> Read<()> {
        let Node::Dict(dict) = self.top()? else { return Err("sets an item of what is not a dictionary".into()) };
        let (pairs, rest) = items.as_chunks::<2>();
        if !rest.is_empty() {
            return Err("sets a key without a value".into());
        }
        dict.extend(pairs.iter().map(|[key, value]| (key.clone(), value.clone())));
        Ok(())
    }

    fn items(&self, value: &Value) -> Read<&[Value]> {
        if let Value::Node(i) = value
            && let Node::Tuple(items) = &self.nodes[*i]
        {
            return Ok(items);
        }
        Err("has something else where a tuple belongs".into())
    }

    fn sizes(&self, value: &Value) -> Read<Vec<usize>> {
        let items = self.items(value)?;
        if items.len() > MOST_DIMENSIONS {
            return Err(format!("has a tensor of {} dimensions", items.len()));
        }
        items.iter().map(size).collect()
    }

    fn storage(&self, id: &Value) -> Read<StorageRef> {
        let (Value::Text(kind), Value::Function(Function::Storage(element)), Value::Text(key), Value::Text(_), count) =
            (match self.items(id)? {
                [kind, of, key, place, count] => (kind, of, key, place, count),
                [kind, of, key, place, count, Value::None] => (kind, of, key, place, count),
                _ => return Err("refers to something else than a storage".into()),
            })
        else {
            return Err("refers to something else than a storage".into());
        };
        if &**kind != "storage" {
            return Err(format!("refers to a {kind}, not a storage"));
        }
        Ok(StorageRef { key: Rc::clone(key), element: *element, count: size(count)? })
    }

    /// Carries out one of the functions that are known.
    fn call(&mut self) -> Read<()> {
        let arguments = self.pop()?;
        let Value::Function(function) = self.pop()? else { return Err("calls what is not a function".into()) };
        let arguments = self.items(&arguments)?;
        let node = match (function, arguments) {
            (Function::OrderedDict, []) => Node::Dict(Vec::new()),
            (Function::RebuildTensor, [Value::Node(storage), offset, shape, strides, _, _]) => {
                let Node::Storage(storage) = &self.nodes[*storage] else {
                    return Err("has a tensor without a storage".into());
                };
                let (offset, shape, strides) = (size(offset)?, self.sizes(shape)?, self.sizes(strides)?);
                Node::Tensor(TensorRef { storage: storage.clone(), offset, shape, strides })
            }
            (Function::RebuildParameter, [Value::Node(tensor), ..]) => {
                let Node::Tensor(tensor) = &self.nodes[*tensor] else {
                    return Err("has a parameter without a tensor".into());
                };
                Node::Tensor(tensor.clone())
            }
            (function, arguments) => return Err(format!("calls {function:?} with {} arguments", arguments.len())),
        };
        self.push(node);
        Ok(())
    }
}

fn size(value: &Value) -> Read<usize> {
    if let Value::Int(n) = value
        && let Ok(n) = usize::try_from(*n)
    {
        return Ok(n);
    }
    Err(format!("has {value:?} where a size belongs"))
}
