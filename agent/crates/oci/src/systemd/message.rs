//! Messages of D-Bus (D-Bus specification 0.43, "Message Protocol"): as much as it takes to call a method with
//! simple arguments, and to read answers and signals that hold numbers and texts.

use std::io;

/// A message that was received.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: Kind,
    /// The call that this answers.
    pub(crate) answers: Option<u32>,
    /// Of the method or signal.
    pub(crate) member: String,
    /// Of the error.
    pub(crate) error: String,
    /// As far as numbers and texts go.
    pub(crate) values: Vec<Received>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Kind {
    Answer,
    Error,
    Signal,
    /// A call, or what later versions bring.
    #[default]
    Other,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Received {
    Number(u32),
    Text(String),
}

/// A call of a method.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) destination: &'a str,
    pub(crate) path: &'a str,
    pub(crate) interface: &'a str,
    pub(crate) member: &'a str,
    /// Types of the body.
    pub(crate) signature: &'a str,
}

/// A value of a property, with its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Flag(bool),
    Number(u64),
    Numbers(Vec<u32>),
    Bytes(Vec<u8>),
}

/// The length of what every message begins with, from which the length of the whole is known.
pub(crate) const PREFIX: usize = 16;
/// The largest message that is read, in bytes; what is expected has some hundred.
pub(super) const LIMIT: usize = 64 << 10;

impl Call<'_> {
    /// The message with a number and a body, in little-endian order.
    pub(crate) fn encode(&self, serial: u32, body: &[u8]) -> Vec<u8> {
        const METHOD_CALL: u8 = 1;
        const VERSION: u8 = 1;
        let mut fields = Writer::default();
        for (code, kind, text) in
            [(1, "o", self.path), (2, "s", self.interface), (3, "s", self.member), (6, "s", self.destination)]
        {
            fields.align(8);
            fields.byte(code);
            fields.signature(kind);
            fields.text(text);
        }
        fields.align(8);
        fields.byte(8);
        fields.signature("g");
        fields.signature(self.signature);

        let mut message = Writer::default();
        message.bytes.extend([b'l', METHOD_CALL, 0, VERSION]);
        message.length(body.len());
        message.number(serial);
        message.length(fields.bytes.len());
        message.bytes.extend(fields.bytes);
        message.align(8);
        message.bytes.extend(body);
        message.bytes
    }
}

/// A body in the making. Every value begins at a multiple of its own size.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn text(&mut self, text: &str) {
        self.align(4);
        self.length(text.len());
        self.bytes.extend(text.as_bytes());
        self.byte(0);
    }

    /// An array of pairs of a name and a value.
    pub(crate) fn properties(&mut self, properties: &[(&str, Value)]) {
        self.array(8, |writer| {
            for (name, value) in properties {
                writer.align(8);
                writer.text(name);
                writer.variant(value);
            }
        });
    }

    pub(crate) fn flag(&mut self, flag: bool) {
        self.number(u32::from(flag));
    }

    /// An array without anything in it.
    pub(crate) fn nothing(&mut self) {
        self.array(8, |_| {});
    }

    fn variant(&mut self, value: &Value) {
        match value {
            Value::Text(text) => {
                self.signature("s");
                self.text(text);
            }
            Value::Flag(flag) => {
                self.signature("b");
                self.number(u32::from(*flag));
            }
            Value::Number(number) => {
                self.signature("t");
                self.align(8);
                self.bytes.extend(number.to_le_bytes());
            }
            Value::Numbers(numbers) => {
                self.signature("au");
                self.array(4, |writer| numbers.iter().for_each(|number| writer.number(*number)));
            }
            Value::Bytes(bytes) => {
                self.signature("ay");
                self.array(1, |writer| writer.bytes.extend(bytes));
            }
        }
    }

    /// The length of an array counts neither itself nor what aligns the first item.
    fn array(&mut self, alignment: usize, items: impl FnOnce(&mut Self)) {
        self.align(4);
        let place = self.bytes.len();
        self.length(0);
        self.align(alignment);
        let start = self.bytes.len();
        items(self);
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[place..place + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn signature(&mut self, signature: &str) {
        self.byte(u8::try_from(signature.len()).unwrap_or(u8::MAX));
        self.bytes.extend(signature.as_bytes());
        self.byte(0);
    }

    fn number(&mut self, number: u32) {
        self.align(4);
        self.bytes.extend(number.to_le_bytes());
    }

    fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }
}

/// Whether these bytes begin a message that nobody waits for an answer of.
pub(super) fn is_signal(bytes: &[u8]) -> bool {
    bytes.get(1) == Some(&4)
}

/// How long a message is in all, from its first [`PREFIX`] bytes; it may be longer than what is read.
pub(crate) fn length(prefix: &[u8; PREFIX]) -> io::Result<usize> {
    let mut reader = Reader::new(prefix)?;
    reader.at = 4;
    let body = reader.length()?;
    reader.at = 12;
    let fields = reader.length()?;
    let length = PREFIX.checked_add(fields).and_then(|length| length.checked_next_multiple_of(8));
    // The specification's own limit.
    let length = length.and_then(|length| length.checked_add(body)).filter(|length| *length <= 128 << 20);
    length.ok_or_else(|| wrong("too long"))
}

impl Message {
    /// Reads a whole message. Values after the first that is neither a number nor a text are left out.
    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Self> {
        let mut reader = Reader::new(bytes)?;
        let kind = match bytes.get(1) {
            Some(2) => Kind::Answer,
            Some(3) => Kind::Error,
            Some(4) => Kind::Signal,
            _ => Kind::Other,
        };
        let mut message = Self { kind, ..Self::default() };
        reader.at = 12;
        let end = reader.length()?.checked_add(PREFIX).ok_or_else(|| wrong("too long"))?;
        let mut signature = String::new();
        while reader.at < end {
            reader.align(8);
            let code = reader.byte()?;
            match (code, reader.signature()?.as_str()) {
                (3, "s") => message.member = reader.text()?,
                (4, "s") => message.error = reader.text()?,
                (5, "u") => message.answers = Some(reader.number()?),
                (8, "g") => signature = reader.signature()?,
                (_, "s" | "o") => drop(reader.text()?),
                (_, "u") => drop(reader.number()?),
                (_, "g") => drop(reader.signature()?),
                (_, other) => return Err(wrong(&format!("a field of type {other:?}"))),
            }
        }
        reader.align(8);
        for kind in signature.chars() {
            message.values.push(match kind {
                'u' => Received::Number(reader.number()?),
                's' | 'o' => Received::Text(reader.text()?),
                _ => break,
            });
        }
        Ok(message)
    }

    /// The text at a place in the body.
    pub(crate) fn text(&self, place: usize) -> Option<&str> {
        match self.values.get(place)? {
            Received::Text(text) => Some(text),
            Received::Number(_) => None,
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    is_big_endian: bool,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> io::Result<Self> {
        let is_big_endian = match bytes.first() {
            Some(b'l') => false,
            Some(b'B') => true,
            _ => return Err(wrong("no byte order")),
        };
        Ok(Self { bytes, at: 0, is_big_endian })
    }

    fn text(&mut self) -> io::Result<String> {
        let length = self.length()?;
        self.terminated(length)
    }

    fn signature(&mut self) -> io::Result<String> {
        let length = usize::from(self.byte()?);
        self.terminated(length)
    }

    fn terminated(&mut self, length: usize) -> io::Result<String> {
        let text = self.take(length)?.to_vec();
        match self.byte()? {
            0 => String::from_utf8(text).map_err(|_| wrong("text that is not UTF-8")),
            _ => Err(wrong("text without an end")),
        }
    }

    fn number(&mut self) -> io::Result<u32> {
        self.align(4);
        let bytes = self.take(4)?.first_chunk().copied().ok_or_else(|| wrong("too short"))?;
        Ok(if self.is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn length(&mut self) -> io::Result<usize> {
        usize::try_from(self.number()?).map_err(|_| wrong("too long"))
    }

    fn byte(&mut self) -> io::Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, length: usize) -> io::Result<&'a [u8]> {
        let end = self.at.checked_add(length).ok_or_else(|| wrong("too long"))?;
        let taken = self.bytes.get(self.at..end).ok_or_else(|| wrong("too short"))?;
        self.at = end;
        Ok(taken)
    }

    fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("message of the service manager: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Call<'_> =
        Call { destination: "d.e", path: "/p", interface: "i.f", member: "M", signature: "s" };

    /// Worked out by hand from the specification.
    #[test]
    fn a_call_has_the_bytes_that_the_specification_wants() {
        let mut body = Writer::default();
        body.text("hi");
        let message = CALL.encode(7, &body.bytes);
        let header = b"l\x01\x00\x01\x07\x00\x00\x00\x07\x00\x00\x00";
        assert_eq!(message[..12], header[..]);
        assert_eq!(message[16..26], *b"\x01\x01o\x00\x02\x00\x00\x00/p");
        assert_eq!(message[message.len() - 7..], *b"\x02\x00\x00\x00hi\x00");
        assert_eq!((message.len() - 7) % 8, 0);
        assert_eq!(length(message.first_chunk().expect("a prefix")).ok(), Some(message.len()));
    }

    #[test]
    fn properties_are_aligned_like_structures() {
        let mut body = Writer::default();
        body.properties(&[("A", Value::Flag(true)), ("B", Value::Numbers(vec![9]))]);
        let want: &[u8] = b"\x26\x00\x00\x00\x00\x00\x00\x00\
            \x01\x00\x00\x00A\x00\x01b\x00\x00\x00\x00\x01\x00\x00\x00\
            \x01\x00\x00\x00B\x00\x02au\x00\x00\x00\x04\x00\x00\x00\x09\x00\x00\x00";
        let length = u8::try_from(body.bytes.len() - 8).expect("short");
        assert_eq!(body.bytes[0], length);
        assert_eq!(body.bytes[8..], want[8..]);
    }

    #[test]
    fn what_was_written_is_read() {
        let mut body = Writer::default();
        body.text("hi");
        let message = Message::decode(&CALL.encode(7, &body.bytes)).expect("decodes");
        assert_eq!((message.kind, message.member.as_str()), (Kind::Other, "M"));
        assert_eq!(message.text(0), Some("hi"));
        assert_eq!(message.text(1), None);
    }

    #[test]
    fn a_message_that_is_cut_or_changed_is_an_error_or_another_message() {
        let mut body = Writer::default();
        body.text("hi");
        let whole = CALL.encode(7, &body.bytes);
        for cut in 0..whole.len() {
            assert!(Message::decode(&whole[..cut]).is_err(), "{cut}");
        }
        for place in 0..whole.len() {
            for value in [0, 1, 127, 255] {
                let mut changed = whole.clone();
                changed[place] = value;
                let _ = Message::decode(&changed);
                let _ = length(changed.first_chunk().expect("a prefix"));
            }
        }
    }
}
