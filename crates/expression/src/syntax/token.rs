//! Cuts an expression's text into tokens.
//!
//! CEL's own, less what needs a reader of types: identifiers in back quotes. Numbers are kept without their sign, so that the
//! parser can take the least integer, whose amount no positive integer has.

use super::literal;

/// A token, and the byte at which it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token<'a> {
    pub(super) kind: TokenKind<'a>,
    pub(super) at: u32,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind<'a> {
    Name(&'a str),
    /// The amount of a signed integer.
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(String),
    Bytes(Vec<u8>),
    Symbol(&'static str),
    End,
}

impl TokenKind<'_> {
    /// How it is called in a message.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Name(name) => format!("`{name}`"),
            Self::Int(_) | Self::Uint(_) | Self::Double(_) => "a number".to_owned(),
            Self::Text(_) | Self::Bytes(_) => "a text".to_owned(),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end".to_owned(),
        }
    }
}

/// A fault, and the byte at which it shows.
pub(super) type TokenError = (u32, String);

/// Longer ones first, so that `<=` is not taken for `<`.
const SYMBOLS: [&str; 23] = [
    "&&", "||", "==", "!=", "<=", ">=", "<", ">", "!", "+", "-", "*", "/", "%", "?", ":", ".", ",", "(", ")",
    "[", "]", "{",
];

/// All tokens of a text of at most 4 GiB, with [`TokenKind::End`] behind them.
pub(super) fn tokens(source: &str) -> Result<Vec<Token<'_>>, TokenError> {
    let mut tokens = Vec::new();
    let mut lexer = Lexer { source, position: 0 };
    loop {
        lexer.skip_blanks();
        let at = lexer.place();
        let kind = lexer.next()?;
        let is_end = kind == TokenKind::End;
        tokens.push(Token { kind, at });
        if is_end {
            return Ok(tokens);
        }
    }
}

struct Lexer<'a> {
    source: &'a str,
    position: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.source.get(self.position..).unwrap_or_default()
    }

    fn place(&self) -> u32 {
        u32::try_from(self.position).unwrap_or(u32::MAX)
    }

    /// Passes over white space and comments.
    fn skip_blanks(&mut self) {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            let comment =
                if trimmed.starts_with("//") { trimmed.find('\n').unwrap_or(trimmed.len()) } else { 0 };
            self.position += rest.len() - trimmed.len() + comment;
            if comment == 0 {
                return;
            }
        }
    }

    fn next(&mut self) -> Result<TokenKind<'a>, TokenError> {
        let rest = self.rest();
        let Some(first) = rest.chars().next() else { return Ok(TokenKind::End) };
        if let Some(literal) = literal::quoted(rest) {
            let quoted = literal.map_err(|(at, why)| (self.place().saturating_add(at), why))?;
            self.position += quoted.bytes_read;
            return Ok(if quoted.is_bytes {
                TokenKind::Bytes(quoted.value)
            } else {
                // A text literal spells whole characters only.
                TokenKind::Text(String::from_utf8_lossy(&quoted.value).into_owned())
            });
        }
        let second_is_digit = rest.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
        if first.is_ascii_digit() || (first == '.' && second_is_digit) {
            return self.number();
        }
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            self.position += end;
            return Ok(TokenKind::Name(&rest[..end]));
        }
        for symbol in SYMBOLS.into_iter().chain(["}"]) {
            if rest.starts_with(symbol) {
                self.position += symbol.len();
                return Ok(TokenKind::Symbol(symbol));
            }
        }
        let hint = match first {
            '=' => "; to compare, write `==`",
            '&' | '|' => "; the operators are `&&` and `||`",
            _ => "",
        };
        Err((self.place(), format!("unexpected `{}`{hint}", first.escape_debug())))
    }

    fn number(&mut self) -> Result<TokenKind<'a>, TokenError> {
        let (start, rest) = (self.place(), self.rest());
        let out_of_range = || (start, "the number is out of range".to_owned());
        let (kind, length) = match rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
            Some(hex) => {
                let digits = hex.bytes().take_while(u8::is_ascii_hexdigit).count();
                let value = u64::from_str_radix(&hex[..digits], 16).map_err(|_| out_of_range())?;
                (TokenKind::Int(value), 2 + digits)
            }
            None => {
                let length = decimal_bytes(rest);
                let text = &rest[..length];
                if text.bytes().all(|byte| byte.is_ascii_digit()) {
                    (TokenKind::Int(text.parse().map_err(|_| out_of_range())?), length)
                } else {
                    let value: f64 = text.parse().map_err(|_| (start, "this is no number".to_owned()))?;
                    (TokenKind::Double(value), length)
                }
            }
        };
        let unsigned = rest[length..].starts_with(['u', 'U']);
        self.position += length + usize::from(unsigned);
        let kind = match kind {
            TokenKind::Int(value) if unsigned => TokenKind::Uint(value),
            other => other,
        };
        if self.rest().starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
            return Err((start, "a number must not run into a name".to_owned()));
        }
        Ok(kind)
    }
}

/// How long the decimal number is that `text` begins with.
fn decimal_bytes(text: &str) -> usize {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let mut end = digits(0);
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let start = (end + 1 + sign).min(bytes.len());
        if digits(start) > 0 {
            end = start + digits(start);
        }
    }
    end
}
