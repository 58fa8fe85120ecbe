//! Pickles of every protocol, and pickles that are damaged or hostile.

use super::*;

/// The pickle as text, to look at.
fn told(pickle: &Pickle, id: Id) -> String {
    let all = |ids: &[Id]| ids.iter().map(|id| told(pickle, *id)).collect::<Vec<_>>().join(" ");
    match pickle.object(id) {
        Object::Int(value) => value.to_string(),
        Object::Text(text) | Object::Name(text) => text.clone(),
        Object::Tuple(items) => format!("({})", all(items)),
        Object::List(items) => format!("[{}]", all(items)),
        Object::Dict(pairs) => {
            let pairs = pairs.iter().map(|(key, value)| format!("{}: {}", told(pickle, *key), told(pickle, *value)));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(" "))
        }
        Object::Persistent(id) => format!("outside {}", told(pickle, *id)),
        Object::Tensor(tensor) => format!("{:?}", tensor.shape),
        Object::Opaque => "?".to_owned(),
    }
}

fn read(bytes: &[u8]) -> String {
    let pickle = Pickle::read(bytes).expect("a pickle");
    assert_eq!(pickle.end, bytes.len());
    told(&pickle, pickle.root())
}

#[test]
fn one_object_in_every_protocol() {
    // Python: pickle.dumps({"a": -5, "b": (1, 300, 70000, 2**40), "c": ["x"]}, protocol)
    for bytes in [
        &b"(dp0\nVa\np1\nI-5\nsVb\np2\n(I1\nI300\nI70000\nL1099511627776L\ntp3\nsVc\np4\n(lp5\nVx\np6\nas."[..],
        b"}q\x00(X\x01\x00\x00\x00aq\x01J\xfb\xff\xff\xffX\x01\x00\x00\x00bq\x02(K\x01M,\x01Jp\x11\x01\x00L1099511627776L\ntq\x03\
          X\x01\x00\x00\x00cq\x04]q\x05X\x01\x00\x00\x00xq\x06au.",
        b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01J\xfb\xff\xff\xffX\x01\x00\x00\x00bq\x02(K\x01M,\x01Jp\x11\x01\x00\
          \x8a\x06\x00\x00\x00\x00\x00\x01tq\x03X\x01\x00\x00\x00cq\x04]q\x05X\x01\x00\x00\x00xq\x06au.",
        b"\x80\x04\x952\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94J\xfb\xff\xff\xff\x8c\x01b\x94(K\x01M,\x01Jp\x11\x01\x00\
          \x8a\x06\x00\x00\x00\x00\x00\x01t\x94\x8c\x01c\x94]\x94\x8c\x01x\x94au.",
    ] {
        assert_eq!(read(bytes), "{a: -5 b: (1 300 70000 1099511627776) c: [x]}");
    }
}

#[test]
fn an_ordered_dictionary_of_python_2_and_a_command() {
    assert_eq!(read(b"\x80\x02ccollections\nOrderedDict\n](](U\x01aK\x05e](U\x01bK\x06ee\x85R."), "{a: 5 b: 6}");
    assert_eq!(read(b"cos\nsystem\n(S'ls'\ntR."), "?");
    assert_eq!(read(b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R."), "?");
}

#[test]
fn deep_and_circular_pickles_are_harmless_and_broken_ones_are_errors() {
    let deep = [&b")"[..], &b"\x85".repeat(1_000_000), b"."].concat();
    assert!(Pickle::read(&deep).is_ok());
    // A list that holds itself.
    let circular = Pickle::read(b"]q\x00h\x00a.").expect("a pickle");
    assert!(matches!(circular.object(circular.root()), Object::List(items) if items == &[circular.root()]));
    for broken in [
        &b""[..],
        b"(",
        b".",
        b"t.",
        b"h\x05.",
        b"X\xff\xff\xff\x7fa.",
        b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\xf0.",
    ] {
        assert!(Pickle::read(broken).is_err(), "{broken:?}");
    }
}
