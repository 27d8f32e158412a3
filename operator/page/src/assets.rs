//! Files that every view refers to. Their addresses change with their content, so that a browser may keep them.

/// A file.
#[derive(Clone, Copy, Debug)]
pub struct Asset {
    /// Its name in the address.
    pub name: &'static str,
    /// Its media type.
    pub media: &'static str,
    /// Its content.
    pub content: &'static str,
}

impl Asset {
    /// Of the content, in hexadecimal.
    pub fn version(&self) -> String {
        // FNV-1a: it tells versions of our own files apart, nothing more.
        let hash = self
            .content
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        format!("{hash:016x}")
    }
}

/// All of them.
pub const ALL: [Asset; 3] = [
    Asset { name: "page.css", media: "text/css; charset=utf-8", content: include_str!("../assets/page.css") },
    Asset { name: "page.js", media: "text/javascript; charset=utf-8", content: include_str!("../assets/page.js") },
    Asset { name: "mark.svg", media: "image/svg+xml", content: include_str!("../assets/mark.svg") },
];

/// The address of a file; of one that there is not, an address where nothing is.
pub fn path(name: &str) -> String {
    match ALL.iter().find(|asset| asset.name == name) {
        Some(asset) => format!("/assets/{}/{name}", asset.version()),
        None => format!("/assets/none/{name}"),
    }
}
