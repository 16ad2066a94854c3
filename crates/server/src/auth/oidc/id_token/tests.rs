//! Tokens signed with keys of every kind that is believed, and tokens with one thing wrong.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair as _, RsaKeyPair,
};
use serde_json::json;

use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://login.example.com";

enum Key {
    Rsa(RsaKeyPair),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    fn of(algorithm: &str) -> Self {
        match algorithm {
            "ES256" => Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap()),
            "ES384" => Self::Ec(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap()),
            "EdDSA" => Self::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Self::rsa(),
        }
    }

    /// The key as a provider publishes it.
    fn json(&self, id: &str) -> Value {
        match self {
            Self::Rsa(pair) => {
                let public = pair.public_key();
                let (n, e) = (public.modulus(), public.exponent());
                let [n, e] = [n, e].map(|part| encoded(part.big_endian_without_leading_zero()));
                json!({"kty": "RSA", "kid": id, "use": "sig", "n": n, "e": e})
            }
            Self::Ec(pair) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                json!({"kty": "EC", "kid": id, "crv": curve, "x": encoded(x), "y": encoded(y)})
            }
            Self::Ed(pair) => {
                json!({"kty": "OKP", "kid": id, "crv": "Ed25519", "x": encoded(pair.public_key().as_ref())})
            }
        }
    }

    fn sign(&self, algorithm: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match self {
            Self::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match algorithm {
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "RS512" => &signature::RSA_PKCS1_SHA512,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut signed).unwrap();
                signed
            }
            Self::Ec(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Self::Ed(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }
}

fn keys(keys: &[Value]) -> SigningKeys {
    SigningKeys::parse(json!({ "keys": keys }).to_string().as_bytes()).unwrap()
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": "user-1", "aud": "relay", "exp": NOW + 300, "iat": NOW - 5, "nonce": "the nonce",
        "email": "ann@example.com",
    })
}

fn unsigned(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encoded(header.to_string().as_bytes()), encoded(claims.to_string().as_bytes()))
}

fn signed(key: &Key, header: &Value, claims: &Value) -> String {
    let message = unsigned(header, claims);
    let signature = key.sign(header["alg"].as_str().unwrap(), message.as_bytes());
    format!("{message}.{}", encoded(&signature))
}

fn verify(token: &str, keys: &SigningKeys) -> Result<String, TokenError> {
    let expected = Expected { issuer: ISSUER, client_id: "relay", nonce: "the nonce", now_seconds: NOW };
    IdToken::parse(token)?.verify(keys, &expected).map(|(subject, _)| subject)
}

#[test]
fn a_token_of_every_kind_is_good_with_its_own_key_alone() {
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA"] {
        let (own, other) = (Key::of(algorithm), Key::of(algorithm));
        let header = json!({"alg": algorithm, "kid": "k1", "typ": "JWT"});
        let token = signed(&own, &header, &claims());
        assert_eq!(verify(&token, &keys(&[own.json("k1")])), Ok("user-1".to_owned()), "{algorithm}");
        assert_eq!(verify(&token, &keys(&[other.json("k1")])), Err(TokenError::Signature), "{algorithm}");
        let wrong_id = verify(&token, &keys(&[own.json("k2")]));
        assert_eq!(wrong_id, Err(TokenError::UnknownKey), "{algorithm}");
        let mut changed = claims();
        changed["sub"] = json!("user-2");
        let (_, signature) = token.rsplit_once('.').unwrap();
        let changed = format!("{}.{signature}", unsigned(&header, &changed));
        assert_eq!(verify(&changed, &keys(&[own.json("k1")])), Err(TokenError::Signature), "{algorithm}");
    }
}

#[test]
fn a_token_that_names_no_key_is_good_where_there_is_but_one() {
    let (own, other) = (Key::of("ES256"), Key::of("ES256"));
    let token = signed(&own, &json!({"alg": "ES256"}), &claims());
    assert!(verify(&token, &keys(&[own.json("a"), Key::of("EdDSA").json("b")])).is_ok());
    assert_eq!(verify(&token, &keys(&[own.json("a"), other.json("b")])), Err(TokenError::UnknownKey));
}

#[test]
fn no_signature_and_one_with_the_public_key_for_a_secret_are_not_believed() {
    use hmac::{Hmac, KeyInit as _, Mac as _};
    let own = Key::rsa();
    let published = own.json("k1");
    let keys = keys(&[published.clone(), json!({"kty": "oct", "kid": "k2", "k": "c2VjcmV0"})]);
    for none in ["none", "None", "NONE", ""] {
        for kid in ["k1", "k2"] {
            let token = format!("{}.", unsigned(&json!({"alg": none, "kid": kid}), &claims()));
            assert_eq!(verify(&token, &keys), Err(TokenError::Algorithm), "{none}");
        }
    }
    let modulus = URL_SAFE_NO_PAD.decode(published["n"].as_str().unwrap()).unwrap();
    for secret in [modulus.as_slice(), published["n"].as_str().unwrap().as_bytes(), b"secret"] {
        for (algorithm, kid) in [("HS256", "k1"), ("HS256", "k2"), ("RS256", "k1"), ("RS256", "k2")] {
            let message = unsigned(&json!({"alg": algorithm, "kid": kid}), &claims());
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret).unwrap();
            mac.update(message.as_bytes());
            let token = format!("{message}.{}", encoded(&mac.finalize().into_bytes()));
            assert!(verify(&token, &keys).is_err(), "{algorithm} {kid}");
        }
    }
    let rs512 = signed(&own, &json!({"alg": "RS512", "kid": "k1"}), &claims());
    assert_eq!(verify(&rs512, &keys), Err(TokenError::Algorithm));
    let critical = signed(&own, &json!({"alg": "RS256", "kid": "k1", "crit": ["b64"]}), &claims());
    assert_eq!(verify(&critical, &keys), Err(TokenError::Algorithm));
}

#[test]
fn a_key_is_good_for_its_own_purpose_and_algorithm_alone() {
    let own = Key::rsa();
    let token = signed(&own, &json!({"alg": "RS256", "kid": "k1"}), &claims());
    let with = |name: &str, value: &str| {
        let mut key = own.json("k1");
        key[name] = json!(value);
        verify(&token, &keys(&[key]))
    };
    assert!(with("alg", "RS256").is_ok());
    for (name, value) in
        [("use", "enc"), ("alg", "PS256"), ("alg", "RSA-OAEP"), ("kty", "EC"), ("n", "AQAB"), ("n", "?")]
    {
        assert!(with(name, value).is_err(), "{name} {value}");
    }
    // The two curves have points of other lengths; what is said of the curve must fit the algorithm.
    let small = Key::of("ES256");
    let mut key = small.json("k1");
    key["crv"] = json!("P-384");
    let token = signed(&small, &json!({"alg": "ES384", "kid": "k1"}), &claims());
    assert!(verify(&token, &keys(&[key])).is_err());
    assert!(SigningKeys::parse(b"{}").is_none() && SigningKeys::parse(b"<html>").is_none());
}

#[test]
fn each_claim_that_is_wrong_is_refused_for_what_it_is() {
    let own = Key::of("EdDSA");
    let keys = keys(&[own.json("k1")]);
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        verify(&signed(&own, &json!({"alg": "EdDSA", "kid": "k1"}), &claims), &keys)
    };
    for (name, value) in [
        ("aud", json!(["relay"])),
        ("azp", json!("relay")),
        ("exp", json!(NOW - 59)),
        ("iat", json!(NOW + 60)),
        ("iat", json!(1_700_000_000.5)),
        ("nbf", json!(NOW + 60)),
        ("email", Value::Null),
    ] {
        assert!(with(name, value.clone()).is_ok(), "{name} {value}");
    }
    for (name, value, error) in [
        ("iss", json!("https://login.example.com/"), TokenError::Issuer),
        ("iss", json!("https://evil.example"), TokenError::Issuer),
        ("iss", Value::Null, TokenError::Malformed),
        ("aud", json!("other"), TokenError::Audience),
        ("aud", json!(["other"]), TokenError::Audience),
        ("aud", json!([]), TokenError::Audience),
        ("aud", json!(["relay", "other"]), TokenError::Audience),
        ("azp", json!("other"), TokenError::Audience),
        ("aud", Value::Null, TokenError::Malformed),
        ("exp", json!(NOW - 60), TokenError::Expired),
        ("exp", json!("tomorrow"), TokenError::Malformed),
        ("exp", Value::Null, TokenError::Malformed),
        ("iat", json!(NOW + 61), TokenError::NotYet),
        ("iat", Value::Null, TokenError::Malformed),
        ("nbf", json!(NOW + 61), TokenError::NotYet),
        ("nonce", json!("another nonce"), TokenError::Nonce),
        ("nonce", json!(""), TokenError::Nonce),
        ("nonce", Value::Null, TokenError::Nonce),
        ("sub", json!(""), TokenError::Subject),
        ("sub", json!("a\nb"), TokenError::Subject),
        ("sub", json!("x".repeat(256)), TokenError::Subject),
        ("sub", json!(7), TokenError::Malformed),
    ] {
        assert_eq!(with(name, value.clone()), Err(error), "{name} {value}");
    }
    let mut many = claims();
    many["aud"] = json!(["relay", "other"]);
    many["azp"] = json!("relay");
    assert!(verify(&signed(&own, &json!({"alg": "EdDSA", "kid": "k1"}), &many), &keys).is_ok());
}

#[test]
fn what_is_no_token_is_refused() {
    let keys = keys(&[Key::of("EdDSA").json("k1")]);
    for text in ["", ".", "..", "a.b.c", "a.b.c.d.e", "e30.e30.", &"x".repeat(MAX_BYTES + 1)] {
        assert_eq!(verify(text, &keys), Err(TokenError::Malformed), "{text}");
    }
}
