//! A reader of the pickles that `torch.save` writes. It executes nothing.
//!
//! A pickle is a program for a stack machine. This reader knows the opcodes of protocol 2 that hold
//! data, and the few functions that rebuild tensors, which it carries out itself. Any other opcode or
//! function is an error. Containers lie in an arena and are referred to by index, so shared and
//! cyclic ones cost nothing. Every opcode makes at most one value, so memory is bounded by the
//! length of the input.

mod machine;

use std::rc::Rc;

use self::machine::Machine;
use super::container::Element;

/// Most bytes of a pickle.
const MOST_BYTES: usize = 64 << 20;

/// What is wrong with a pickle.
pub(super) type Refusal = String;
type Read<T> = Result<T, Refusal>;

/// A value. Containers are [`Node`]s of the [`Arena`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Rc<str>),
    Function(Function),
    Node(usize),
}

/// A container, or what stands for a tensor.
#[derive(Debug)]
pub(super) enum Node {
    Tuple(Vec<Value>),
    List(Vec<Value>),
    Dict(Vec<(Value, Value)>),
    Storage(StorageRef),
    Tensor(TensorRef),
}

/// Memory that tensors share, by the key under which the container holds it.
#[derive(Debug, Clone)]
pub(super) struct StorageRef {
    pub key: Rc<str>,
    pub element: Element,
    pub count: usize,
}

/// A strided view of a storage; all counts are of elements.
#[derive(Debug, Clone)]
pub(super) struct TensorRef {
    pub storage: StorageRef,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// The functions and types that may be named.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Function {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    Storage(Element),
}

impl Function {
    fn of(module: &str, name: &str) -> Read<Self> {
        let known = match (module, name) {
            ("collections", "OrderedDict") => Some(Self::OrderedDict),
            ("torch._utils", "_rebuild_tensor_v2") => Some(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Some(Self::RebuildParameter),
            ("torch", name) => Element::of_storage(name).map(Self::Storage),
            _ => None,
        };
        known.ok_or_else(|| format!("asks for {module}.{name}, which tensors do not need"))
    }
}

/// What a pickle holds: its containers, and the value it stands for.
#[derive(Debug)]
pub(super) struct Pickle {
    nodes: Vec<Node>,
    pub value: Value,
    /// Bytes read.
    pub length: usize,
}

impl Pickle {
    /// Reads the pickle at the start of `bytes`; what follows it is not read.
    pub(super) fn read(bytes: &[u8]) -> Read<Self> {
        let bytes = &bytes[..bytes.len().min(MOST_BYTES)];
        let mut machine = Machine::new(bytes);
        let value = machine.run()?;
        let (nodes, length) = machine.into_nodes();
        Ok(Self { nodes, value, length })
    }

    /// All containers.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The container behind a value.
    pub(super) fn node(&self, value: &Value) -> Option<&Node> {
        if let Value::Node(i) = value { self.nodes.get(*i) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        Pickle::read(bytes).unwrap_err()
    }

    #[test]
    fn data_are_read() {
        let pickle =
            Pickle::read(b"\x80\x02}q\x00(X\x01\x00\x00\x00aK\x07X\x01\x00\x00\x00b\x8a\x02\x00\xffu.rest").unwrap();
        let Some(Node::Dict(items)) = pickle.node(&pickle.value) else { panic!("{pickle:?}") };
        assert_eq!(items[0], (Value::Text("a".into()), Value::Int(7)));
        assert_eq!(items[1].1, Value::Int(-256));
        assert_eq!(pickle.length, 26);
    }

    #[test]
    fn nothing_is_executed() {
        assert!(refusal(b"\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.").contains("os.system"));
        assert!(refusal(b"\x80\x02cbuiltins\neval\n.").contains("builtins.eval"));
        // INST, OBJ, NEWOBJ, STACK_GLOBAL, EXT1 and a frame of protocol 4.
        for opcode in [b'i', b'o', 0x81, 0x93, 0x82, 0x95] {
            assert!(refusal(&[0x80, 2, opcode]).contains("opcode"), "{opcode}");
        }
        assert!(refusal(b"\x80\x04.").contains("protocol 4"));
    }

    #[test]
    fn what_is_not_there_is_not_taken() {
        for bytes in
            [&b"."[..], b"\x80\x02(.", b"K\x01(\x85.", b"t.", b"h\x05.", b"K\x01a.", b"(K\x01e.", b"}K\x01s.", b"R."]
        {
            refusal(bytes);
        }
        assert!(refusal(b"X\xff\xff\xff\xff").contains("cut short"));
        assert!(refusal(&[b'('; 1000]).contains("nests"));
    }
}
