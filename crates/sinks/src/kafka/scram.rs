//! The client's side of SCRAM (RFC 5802, RFC 7677), without channel binding: the password is proved and never sent, and
//! the broker proves that it knows it too.
//!
//! ```text
//! we      n,,n=user,r=nonce
//! broker  r=nonce+theirs,s=salt,i=iterations
//! we      c=biws,r=nonce+theirs,p=proof
//! broker  v=signature
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroizing;

/// `n,,` in base64: no channel binding, no other identity.
const NO_BINDING: &str = "biws";

/// Fewer iterations would let whoever poses as a broker guess the password from the proof.
const MIN_ITERATIONS: u32 = 4096;
/// More would let a broker keep us computing. Kafka's own limit is 16,384.
const MAX_ITERATIONS: u32 = 100_000;

/// The hash that a mechanism is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

/// Why a broker's message is not believed. Quotes nothing of it but its own word for an error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    #[error("the broker's SCRAM message is not one")]
    Malformed,
    #[error("the broker's nonce does not begin with ours")]
    Nonce,
    #[error("the broker asks for {0} iterations, not {MIN_ITERATIONS} to {MAX_ITERATIONS}")]
    Iterations(u32),
    #[error("the broker refuses: {0}")]
    Refused(String),
    #[error("the broker does not know the password itself")]
    Impostor,
}

/// The first message, and what has to be remembered of it.
#[derive(Debug)]
pub(super) struct First {
    nonce: String,
    bare: String,
}

/// The final message, and what the broker must answer to it.
#[derive(Debug)]
pub(super) struct Final {
    pub(super) message: String,
    signature: Vec<u8>,
}

impl First {
    /// Begins with a nonce of printable ASCII without commas, which must be fresh.
    pub(super) fn new(user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Self { bare: format!("n={user},r={nonce}"), nonce }
    }

    pub(super) fn message(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// Answers the broker's first message. Computes for milliseconds: not for an async task.
    pub(super) fn answer(&self, hash: Hash, password: &str, challenge: &str) -> Result<Final, ScramError> {
        let parsed = Challenge::parse(challenge)?;
        if !parsed.nonce.starts_with(&self.nonce) || parsed.nonce.len() == self.nonce.len() {
            return Err(ScramError::Nonce);
        }
        if !(MIN_ITERATIONS..=MAX_ITERATIONS).contains(&parsed.iterations) {
            return Err(ScramError::Iterations(parsed.iterations));
        }
        let without_proof = format!("c={NO_BINDING},r={}", parsed.nonce);
        let signed = format!("{},{challenge},{without_proof}", self.bare);
        let (proof, signature) = match hash {
            Hash::Sha256 => prove::<Hmac<Sha256>, Sha256>(password, &parsed, &signed),
            Hash::Sha512 => prove::<Hmac<Sha512>, Sha512>(password, &parsed, &signed),
        }?;
        Ok(Final { message: format!("{without_proof},p={}", STANDARD.encode(proof)), signature })
    }
}

impl Final {
    /// Checks the broker's last message.
    pub(super) fn check(&self, verdict: &str) -> Result<(), ScramError> {
        let mut fields = verdict.split(',');
        let first = fields.next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(ScramError::Refused(error.chars().take(100).collect()));
        }
        let signature = first.strip_prefix("v=").and_then(|text| STANDARD.decode(text).ok());
        let signature = signature.ok_or(ScramError::Malformed)?;
        if signature == self.signature { Ok(()) } else { Err(ScramError::Impostor) }
    }
}

struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> Challenge<'a> {
    fn parse(message: &'a str) -> Result<Self, ScramError> {
        let mut fields = message.split(',');
        let mut field =
            |name| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(ScramError::Malformed);
        let nonce = field("r=")?;
        let salt = STANDARD.decode(field("s=")?).map_err(|_| ScramError::Malformed)?;
        let iterations = field("i=")?.parse().map_err(|_| ScramError::Malformed)?;
        Ok(Self { nonce, salt, iterations })
    }
}

/// The proof that we know the password, and the signature that proves that the broker does.
fn prove<M: Mac + KeyInit + Clone, D: Digest>(
    password: &str,
    challenge: &Challenge<'_>,
    signed: &str,
) -> Result<(Vec<u8>, Vec<u8>), ScramError> {
    let salted = salt_password::<M>(password, challenge)?;
    let client_key = Zeroizing::new(sign::<M>(&salted, b"Client Key")?);
    let stored_key = D::digest(&*client_key);
    let client_signature = sign::<M>(&stored_key, signed.as_bytes())?;
    let proof = client_key.iter().zip(client_signature).map(|(key, signature)| key ^ signature).collect();
    let server_key = Zeroizing::new(sign::<M>(&salted, b"Server Key")?);
    Ok((proof, sign::<M>(&server_key, signed.as_bytes())?))
}

/// PBKDF2 with one block of output, which RFC 5802 calls `Hi`.
fn salt_password<M: Mac + KeyInit + Clone>(
    password: &str,
    challenge: &Challenge<'_>,
) -> Result<Zeroizing<Vec<u8>>, ScramError> {
    let keyed = keyed::<M>(password.as_bytes())?;
    let mut first = keyed.clone();
    first.update(&challenge.salt);
    first.update(&1u32.to_be_bytes());
    let mut block = first.finalize().into_bytes();
    let mut salted = Zeroizing::new(block.to_vec());
    for _ in 1..challenge.iterations {
        let mut next = keyed.clone();
        next.update(&block);
        block = next.finalize().into_bytes();
        for (sum, byte) in salted.iter_mut().zip(&block) {
            *sum ^= byte;
        }
    }
    Ok(salted)
}

fn sign<M: Mac + KeyInit>(key: &[u8], message: &[u8]) -> Result<Vec<u8>, ScramError> {
    let mut keyed = keyed::<M>(key)?;
    keyed.update(message);
    Ok(keyed.finalize().into_bytes().to_vec())
}

/// HMAC takes keys of any length, so there is no error but in the types.
fn keyed<M: Mac + KeyInit>(key: &[u8]) -> Result<M, ScramError> {
    <M as KeyInit>::new_from_slice(key).map_err(|_| ScramError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn answer(challenge: &str) -> Result<Final, ScramError> {
        First::new("user", "rOprNGfwEbeRWgbNEkqO".to_owned()).answer(Hash::Sha256, "pencil", challenge)
    }

    #[test]
    fn the_example_of_rfc_7677_comes_out() {
        let first = First::new("user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = answer(CHALLENGE).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(last.message, expected);
        assert_eq!(last.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Ok(()));
    }

    #[test]
    fn sha_512_has_longer_proofs() {
        let first = First::new("user", "rOprNGfwEbeRWgbNEkqO".to_owned());
        let last = first.answer(Hash::Sha512, "pencil", CHALLENGE).unwrap();
        let proof = last.message.split_once(",p=").unwrap().1;
        assert_eq!(STANDARD.decode(proof).unwrap().len(), 64);
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_found_out() {
        let last = answer(CHALLENGE).unwrap();
        assert_eq!(last.check("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="), Err(ScramError::Impostor));
        assert_eq!(last.check("v="), Err(ScramError::Impostor));
        assert_eq!(last.check("e=unknown-user"), Err(ScramError::Refused("unknown-user".to_owned())));
        for verdict in ["", "v", "v=*", "p=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="] {
            assert_eq!(last.check(verdict), Err(ScramError::Malformed), "{verdict}");
        }
    }

    #[test]
    fn a_challenge_that_is_weak_or_not_ours_is_refused() {
        let foreign = CHALLENGE.replace("rOprNGfwEbeRWgbNEkqO", "somethingelse");
        assert_eq!(answer(&foreign).unwrap_err(), ScramError::Nonce);
        let echoed = "r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(answer(echoed).unwrap_err(), ScramError::Nonce, "the broker adds nothing");
        for iterations in [0, 1, 4095, 100_001, u32::MAX] {
            let weak = CHALLENGE.replace("i=4096", &format!("i={iterations}"));
            assert_eq!(answer(&weak).unwrap_err(), ScramError::Iterations(iterations));
        }
        for broken in ["", "r=", "m=x,r=y", "r=rOprNGfwEbeRWgbNEkqOx,s=*,i=4096", "e=other-error"] {
            assert_eq!(answer(broken).unwrap_err(), ScramError::Malformed, "{broken}");
        }
    }

    #[test]
    fn a_user_name_cannot_add_fields() {
        assert_eq!(First::new("a=b,r=c", "n".to_owned()).message(), "n,,n=a=3Db=2Cr=3Dc,r=n");
    }
}
