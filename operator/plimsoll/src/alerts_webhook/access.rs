//! Who may post alerts: whoever has one of the tokens. Files, so that a token is replaced without a restart: the new one is
//! added, then the old one taken away.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use anyhow::{Context as _, bail};
use http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};

/// Shorter tokens can be guessed.
const SHORTEST: usize = 16;

/// The tokens that are accepted. Only their hashes are kept.
#[derive(Clone, Debug)]
pub struct Tokens {
    files: Vec<PathBuf>,
    hashes: Arc<RwLock<Vec<[u8; 32]>>>,
}

impl Tokens {
    /// Reads the files. Without any, every request is accepted: only for a server that asks for client certificates.
    ///
    /// # Errors
    /// Names the file that cannot be read or has no token.
    pub fn read(files: Vec<PathBuf>) -> anyhow::Result<Self> {
        let tokens = Self { files, hashes: Arc::default() };
        tokens.read_again()?;
        Ok(tokens)
    }

    /// Reads the files again; on an error the tokens stay as they were.
    ///
    /// # Errors
    /// As for [`Tokens::read`].
    pub fn read_again(&self) -> anyhow::Result<()> {
        let hashes = self.files.iter().map(|file| {
            let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
            let token = text.trim();
            if token.len() < SHORTEST {
                bail!("{}: a token of at least {SHORTEST} characters is wanted", file.display());
            }
            Ok(Sha256::digest(token).into())
        });
        let hashes = hashes.collect::<anyhow::Result<Vec<_>>>()?;
        *self.hashes.write().unwrap_or_else(PoisonError::into_inner) = hashes;
        Ok(())
    }

    /// True for a request that bears one of the tokens. How long it takes says nothing about them: hashes are compared, in
    /// constant time, and always all.
    pub fn accept(&self, headers: &HeaderMap) -> bool {
        if self.files.is_empty() {
            return true;
        }
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return false };
        let Some((scheme, token)) = value.to_str().ok().and_then(|value| value.split_once(' ')) else { return false };
        let given: [u8; 32] = Sha256::digest(token.trim()).into();
        let hashes = self.hashes.read().unwrap_or_else(PoisonError::into_inner);
        let known = hashes.iter().fold(Choice::from(0), |known, hash| known | hash.ct_eq(&given));
        scheme.eq_ignore_ascii_case("bearer") && bool::from(known)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn one_of_the_tokens_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (old, new) = (file("old", "0123456789abcdef\n"), file("new", "fedcba9876543210"));
        let tokens = Tokens::read(vec![old.clone(), new]).unwrap();
        let accepts = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, value.parse().unwrap());
            }
            tokens.accept(&headers)
        };
        assert!(accepts(&["Bearer 0123456789abcdef"]) && accepts(&["bearer fedcba9876543210"]));
        for refused in [
            &[][..],
            &["Bearer 0123456789abcde"],
            &["Bearer"],
            &["Bearer "],
            &["Basic 0123456789abcdef"],
            &["Bearer 0123456789abcdef", "Bearer 0123456789abcdef"],
        ] {
            assert!(!accepts(refused), "{refused:?}");
        }
        // Rotation: the old one goes without a restart; a broken file changes nothing.
        file("old", "another-token-of-some-length");
        tokens.read_again().unwrap();
        assert!(!accepts(&["Bearer 0123456789abcdef"]) && accepts(&["Bearer another-token-of-some-length"]));
        file("old", "short");
        assert!(tokens.read_again().unwrap_err().to_string().contains("at least 16 characters"));
        assert!(accepts(&["Bearer another-token-of-some-length"]));
        assert!(Tokens::read(vec![old]).is_err());
    }
}
