//! What an object says, in sixteen bytes: the watch keeps this instead of the object.

use std::{
    collections::{BTreeMap, hash_map::DefaultHasher},
    fmt,
    hash::Hasher,
};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A hash of a JSON value that does not depend on the order of its keys.
///
/// It is made while the value is read, so that a page of large objects never becomes a page of
/// large trees. It lives in memory only: its value may differ between versions of the program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl Fingerprint {
    /// Of anything that serializes to JSON.
    ///
    /// # Errors
    /// When it does not.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(&serde_json::to_vec(value)?)
    }

    /// Of a map of strings, such as labels.
    pub fn of_strings<'a>(map: impl IntoIterator<Item = (&'a String, &'a String)>) -> Self {
        let mut sum = 0u128;
        for (key, value) in map {
            sum = sum.wrapping_add(mix(leaf(b's', key.as_bytes()), leaf(b's', value.as_bytes())));
        }
        Self(sealed(b'm', sum))
    }

    /// Of two fingerprints, in this order.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(mix(self.0, other.0))
    }
}

fn leaf(kind: u8, bytes: &[u8]) -> u128 {
    // Two hashes of 64 bits with different beginnings: 64 alone would be thin for a decision about writing.
    let half = |seed: u8| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(seed);
        hasher.write_u8(kind);
        hasher.write(bytes);
        hasher.finish()
    };
    (u128::from(half(0)) << 64) | u128::from(half(1))
}

fn mix(a: u128, b: u128) -> u128 {
    let mut bytes = [0u8; 32];
    for (slot, byte) in bytes.iter_mut().zip(a.to_le_bytes().into_iter().chain(b.to_le_bytes())) {
        *slot = byte;
    }
    leaf(b'x', &bytes)
}

fn sealed(kind: u8, value: u128) -> u128 {
    leaf(kind, &value.to_le_bytes())
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Fingerprint;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_str<E>(self, v: &str) -> Result<Fingerprint, E> {
        Ok(Fingerprint(leaf(b's', v.as_bytes())))
    }

    fn visit_bool<E>(self, v: bool) -> Result<Fingerprint, E> {
        Ok(Fingerprint(leaf(b'b', &[u8::from(v)])))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Fingerprint, E> {
        Ok(Fingerprint(leaf(b'i', &i128::from(v).to_le_bytes())))
    }

    fn visit_u64<E>(self, v: u64) -> Result<Fingerprint, E> {
        Ok(Fingerprint(leaf(b'i', &i128::from(v).to_le_bytes())))
    }

    fn visit_f64<E>(self, v: f64) -> Result<Fingerprint, E> {
        Ok(Fingerprint(leaf(b'f', &v.to_bits().to_le_bytes())))
    }

    fn visit_unit<E>(self) -> Result<Fingerprint, E> {
        Ok(Fingerprint(leaf(b'n', &[])))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Fingerprint, A::Error> {
        let mut sum = 0u128;
        while let Some(Fingerprint(item)) = seq.next_element()? {
            sum = mix(sum, item);
        }
        Ok(Fingerprint(sealed(b'a', sum)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fingerprint, A::Error> {
        let mut sum = 0u128;
        while let Some((Fingerprint(key), Fingerprint(value))) = map.next_entry()? {
            sum = sum.wrapping_add(mix(key, value));
        }
        Ok(Fingerprint(sealed(b'm', sum)))
    }
}

/// The fingerprint of labels and spec together, as both sides of the comparison make it.
pub fn of_object(labels: &BTreeMap<String, String>, spec: Fingerprint) -> Fingerprint {
    Fingerprint::of_strings(labels).and(spec)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn print(json: &str) -> Fingerprint {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn order_of_keys_does_not_matter_and_everything_else_does() {
        assert_eq!(print(r#"{"a":1,"b":["x",null]}"#), print(r#"{ "b" : ["\u0078", null], "a": 1 }"#));
        let all = [
            r#"{}"#,
            r#"[]"#,
            r#""""#,
            r#"null"#,
            r#"0"#,
            r#"0.5"#,
            r#"false"#,
            r#"{"a":{}}"#,
            r#"{"a":[]}"#,
            r#"["a"]"#,
            r#"["a","b"]"#,
            r#"["b","a"]"#,
            r#"[["a"],"b"]"#,
            r#"{"a":"b"}"#,
            r#"{"b":"a"}"#,
            r#"{"a":"b","c":"d"}"#,
            r#"{"a":"d","c":"b"}"#,
        ];
        for (i, a) in all.iter().enumerate() {
            for b in all.iter().skip(i + 1) {
                assert_ne!(print(a), print(b), "{a} {b}");
            }
        }
    }

    #[test]
    fn labels_are_a_map_like_any_other() {
        let labels: BTreeMap<String, String> = [("a".into(), "1".into()), ("b".into(), "2".into())].into();
        assert_eq!(Fingerprint::of_strings(&labels), Fingerprint::of(&labels).unwrap());
    }
}
