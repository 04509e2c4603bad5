//! Protocol buffers, as far as this protocol needs them: <https://protobuf.dev/programming-guides/encoding/>.

/// Wire types of fields.
const VARINT: u64 = 0;
const FIXED: u64 = 1;
const BYTES: u64 = 2;

/// A message that is being written. The numbers are those of the fields.
#[derive(Debug, Default)]
pub(super) struct Message(Vec<u8>);

impl Message {
    /// Appends a whole number.
    pub(super) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    /// Appends a 64-bit number, whole or real.
    pub(super) fn fixed(mut self, field: u64, value: [u8; 8]) -> Self {
        self.varint(field << 3 | FIXED);
        self.0.extend(value);
        self
    }

    /// Appends a text.
    pub(super) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    /// Appends a message.
    pub(super) fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// Appends several messages.
    pub(super) fn messages(self, field: u64, messages: impl IntoIterator<Item = Self>) -> Self {
        messages.into_iter().fold(self, |all, message| all.message(field, &message))
    }

    /// Returns the encoded message.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | BYTES);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    #[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Returns a text or message from a received message; `None` if the field is absent or the message is malformed.
pub(super) fn part(mut message: &[u8], field: u64) -> Option<&[u8]> {
    loop {
        let key = varint(&mut message)?;
        let length = match key & 7 {
            VARINT => varint(&mut message).map(|_| 0)?,
            FIXED => 8,
            BYTES => usize::try_from(varint(&mut message)?).ok()?,
            _ => return None,
        };
        let (value, rest) = message.split_at_checked(length)?;
        if key == (field << 3 | BYTES) {
            return Some(value);
        }
        message = rest;
    }
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if *first < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The examples of the encoding's own description.
    #[test]
    fn it_is_written_as_its_description_says() {
        assert_eq!(Message::default().number(1, 150).into_bytes(), [0x08, 0x96, 0x01]);
        assert_eq!(Message::default().text(2, "testing").into_bytes(), b"\x12\x07testing");
        let inner = Message::default().number(1, 150);
        assert_eq!(Message::default().message(3, &inner).into_bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        let real = Message::default().fixed(4, 25.4_f64.to_le_bytes()).into_bytes();
        assert_eq!(real, [0x21, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x39, 0x40]);
    }

    proptest! {
        #[test]
        fn a_part_is_found_behind_others(number in any::<u64>(), fixed in any::<[u8; 8]>(), text in ".*") {
            let written = Message::default().number(1, number).fixed(2, fixed).text(3, "no").text(4, &text).into_bytes();
            prop_assert_eq!(part(&written, 4), Some(text.as_bytes()));
            prop_assert_eq!(part(&written, 5), None);
        }

        #[test]
        fn anything_can_be_received(bytes in any::<Vec<u8>>(), field in any::<u64>()) {
            part(&bytes, field);
        }
    }
}
