//! The keys that a provider signs with (JWKS, RFC 7517), as far as they can be believed here: public ones of the kinds below.
//!
//! | `alg` | key |
//! |---|---|
//! | `RS256`, `PS256` | RSA, from 2,048 bits |
//! | `ES256`, `ES384` | EC, `P-256` and `P-384` |
//! | `EdDSA` | OKP, `Ed25519` |
//!
//! A key is good for the algorithms of its own kind alone, so no token can have a public key taken for the secret of an HMAC, and
//! `none` is no algorithm. Keys of other kinds are passed over: providers publish keys for other purposes beside.

use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// More than any provider has.
const MAX_KEYS: usize = 100;

/// How a token is signed, as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SigningAlgorithm {
    Rs256,
    Ps256,
    Es256,
    Es384,
    EdDsa,
}

/// What kind of key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

/// The keys of a provider.
#[derive(Debug, Default)]
pub(super) struct SigningKeys(Vec<SigningKey>);

/// One of them.
pub(super) struct SigningKey {
    id: Option<String>,
    kind: Kind,
    /// The one algorithm that it is for, where it says so.
    algorithm: Option<SigningAlgorithm>,
    key: DecodingKey,
}

#[derive(Deserialize)]
struct JsonKeys {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct JsonKey {
    kty: String,
    kid: Option<String>,
    r#use: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl SigningAlgorithm {
    /// The algorithm of a header; none: it is not believed here.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Self::Rs256),
            "PS256" => Some(Self::Ps256),
            "ES256" => Some(Self::Es256),
            "ES384" => Some(Self::Es384),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }

    fn kind(self) -> Kind {
        match self {
            Self::Rs256 | Self::Ps256 => Kind::Rsa,
            Self::Es256 => Kind::P256,
            Self::Es384 => Kind::P384,
            Self::EdDsa => Kind::Ed25519,
        }
    }

    fn verified_as(self) -> Algorithm {
        match self {
            Self::Rs256 => Algorithm::RS256,
            Self::Ps256 => Algorithm::PS256,
            Self::Es256 => Algorithm::ES256,
            Self::Es384 => Algorithm::ES384,
            Self::EdDsa => Algorithm::EdDSA,
        }
    }
}

impl SigningKeys {
    /// Reads a key set. None: it is none.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        let JsonKeys { keys } = serde_json::from_slice(json).ok()?;
        let keys = keys
            .into_iter()
            .take(MAX_KEYS)
            .filter_map(|key| SigningKey::of(serde_json::from_value(key).ok()?));
        Some(Self(keys.collect()))
    }

    /// The key of a token: the one of its id, or the only one that there is for its algorithm where it names none.
    pub(super) fn find(&self, id: Option<&str>, algorithm: SigningAlgorithm) -> Option<&SigningKey> {
        let mut fitting = self
            .0
            .iter()
            .filter(|key| key.kind == algorithm.kind() && key.algorithm.is_none_or(|own| own == algorithm));
        match id {
            Some(id) => fitting.find(|key| key.id.as_deref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        }
    }
}

impl SigningKey {
    /// None: it is of no use here.
    fn of(json: JsonKey) -> Option<Self> {
        if json.r#use.as_deref().is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let kind = match (json.kty.as_str(), json.crv.as_deref()) {
            ("RSA", _) => Kind::Rsa,
            ("EC", Some("P-256")) => Kind::P256,
            ("EC", Some("P-384")) => Kind::P384,
            ("OKP", Some("Ed25519")) => Kind::Ed25519,
            _ => return None,
        };
        let key = match kind {
            Kind::Rsa => DecodingKey::from_rsa_components(json.n.as_deref()?, json.e.as_deref()?),
            Kind::P256 | Kind::P384 => {
                DecodingKey::from_ec_components(json.x.as_deref()?, json.y.as_deref()?)
            }
            Kind::Ed25519 => DecodingKey::from_ed_components(json.x.as_deref()?),
        };
        let algorithm = match json.alg {
            Some(name) => Some(SigningAlgorithm::from_name(&name)?),
            None => None,
        };
        Some(Self { id: json.kid, kind, algorithm, key: key.ok()? })
    }

    /// Whether it has signed a message. `signature` is base64 for URLs.
    pub(super) fn verifies(&self, message: &str, signature: &str, algorithm: SigningAlgorithm) -> bool {
        let fits = self.kind == algorithm.kind();
        let verified = || {
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.key, algorithm.verified_as())
        };
        fits && verified().unwrap_or(false)
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).field("kind", &self.kind).finish_non_exhaustive()
    }
}
