//! Binary HTTP messages in the forms of RFC 9292: the crate writes two, the others are cut or padded.

use std::io::Cursor;

use bhttp::{Message, Mode};

use crate::Outcome;

const PADDING: usize = 300; // octets; the crate has no call for it

#[derive(Clone, Copy)]
pub enum Form {
    Known,
    Indeterminate,
    Padded,
    Truncated,
}

impl Form {
    pub fn parse(name: &[u8]) -> Self {
        match name {
            b"indeterminate" => Self::Indeterminate,
            b"padded" => Self::Padded,
            b"truncated" => Self::Truncated,
            _ => Self::Known,
        }
    }
}

pub fn encode(message: &Message, form: Form) -> Outcome<Vec<u8>> {
    let mode = match form {
        Form::Indeterminate => Mode::IndeterminateLength,
        _ => Mode::KnownLength,
    };
    let mut data = Vec::new();
    message.write_bhttp(mode, &mut data)?;
    match form {
        Form::Padded => data.resize(data.len() + PADDING, 0),
        Form::Truncated => truncate(&mut data, message),
        Form::Known | Form::Indeterminate => (),
    }
    Ok(data)
}

/// Omits the empty sections at the end (RFC 9292, Section 3.8).
fn truncate(data: &mut Vec<u8>, message: &Message) {
    if message.trailer().is_empty() {
        let sections = if message.content().is_empty() { 2 } else { 1 };
        data.truncate(data.len() - sections);
    }
}

pub fn decode(data: &[u8]) -> Outcome<Message> {
    Ok(Message::read_bhttp(&mut Cursor::new(data))?)
}
