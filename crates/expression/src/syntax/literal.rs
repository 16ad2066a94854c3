//! Texts and bytes in quotes, as CEL spells them: `'a'`, `"a"`, `'''a'''`, `"""a"""`, raw with `r` before, bytes with `b`.
//!
//! Escapes: `\\ \' \" \` \? \a \b \f \n \r \t \v`, `\xhh`, `\ooo`, and in texts `\uhhhh` and `\Uhhhhhhhh`. In a text, `\xhh` and
//! `\ooo` are characters; in bytes they are bytes.

/// What a literal spells.
pub(super) struct Quoted {
    pub(super) value: Vec<u8>,
    pub(super) is_bytes: bool,
    /// How much of the source it takes.
    pub(super) bytes_read: usize,
}

type LiteralError = (u32, String);

/// The literal that `source` begins with; none when it begins with something else.
pub(super) fn quoted(source: &str) -> Option<Result<Quoted, LiteralError>> {
    let prefix_bytes = source.bytes().take(2).take_while(|byte| b"rRbB".contains(byte)).count();
    let prefix = &source[..prefix_bytes];
    let body = &source[prefix_bytes..];
    let is_raw = prefix.contains(['r', 'R']);
    let is_bytes = prefix.contains(['b', 'B']);
    if prefix_bytes == 2 && is_raw != is_bytes {
        // `rr` or `bb` begins a name.
        return None;
    }
    let delimiter = ["'''", "\"\"\"", "'", "\""].into_iter().find(|quotes| body.starts_with(quotes))?;
    let read = read(body, delimiter, is_raw, is_bytes);
    Some(read.map(|(value, bytes)| Quoted { value, is_bytes, bytes_read: prefix_bytes + bytes }))
}

/// The value, and how many bytes of `body` it takes, both delimiters included.
fn read(body: &str, delimiter: &str, is_raw: bool, is_bytes: bool) -> Result<(Vec<u8>, usize), LiteralError> {
    let mut value = Vec::new();
    let mut position = delimiter.len();
    loop {
        let rest = &body[position..];
        if rest.starts_with(delimiter) {
            return Ok((value, position + delimiter.len()));
        }
        let Some(first) = rest.chars().next() else {
            return Err((0, "the text has no closing quote".to_owned()));
        };
        if delimiter.len() == 1 && matches!(first, '\n' | '\r') {
            return Err((0, "the text has no closing quote on its line".to_owned()));
        }
        if first == '\\' && !is_raw {
            let (character, length) =
                escape(rest, is_bytes).map_err(|why| (u32::try_from(position).unwrap_or(0), why))?;
            match character {
                Escaped::Character(c) => value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                Escaped::Byte(byte) => value.push(byte),
            }
            position += length;
        } else {
            value.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
            position += first.len_utf8();
        }
    }
}

enum Escaped {
    Character(char),
    Byte(u8),
}

/// What the escape spells that `text` begins with, and its length.
fn escape(text: &str, is_bytes: bool) -> Result<(Escaped, usize), String> {
    let unknown = || "an unknown escape".to_owned();
    let letter = text[1..].chars().next().ok_or_else(unknown)?;
    let plain = match letter {
        '\\' | '\'' | '"' | '`' | '?' => Some(letter),
        'a' => Some('\x07'),
        'b' => Some('\x08'),
        'f' => Some('\x0c'),
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        'v' => Some('\x0b'),
        _ => None,
    };
    if let Some(character) = plain {
        return Ok((Escaped::Character(character), 2));
    }
    let (digits, radix, start) = match letter {
        'x' | 'X' => (2, 16, 2),
        'u' if !is_bytes => (4, 16, 2),
        'U' if !is_bytes => (8, 16, 2),
        '0'..='3' => (3, 8, 1),
        _ => return Err(unknown()),
    };
    let code = text.get(start..start + digits).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
    let code = code.and_then(|code| u32::from_str_radix(code, radix).ok()).ok_or_else(unknown)?;
    let escaped = match u8::try_from(code) {
        Ok(byte) if is_bytes => Escaped::Byte(byte),
        _ => Escaped::Character(char::from_u32(code).ok_or("the escape spells no character")?),
    };
    Ok((escaped, start + digits))
}
