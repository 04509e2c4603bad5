//! The files of the page, compressed in the binary by `build.rs`.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};
use miniz_oxide::inflate::decompress_to_vec;

use super::problem::Problem;

/// A file (raw DEFLATE), and its media type.
struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

impl Asset {
    const fn script(path: &'static str, content: &'static [u8]) -> Self {
        Self { path, kind: "text/javascript; charset=utf-8", content }
    }

    const fn style(path: &'static str, content: &'static [u8]) -> Self {
        Self { path, kind: "text/css; charset=utf-8", content }
    }
}

macro_rules! compressed {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/page/", $name))
    };
}

const ASSETS: &[Asset] = &[
    Asset { path: "", kind: "text/html; charset=utf-8", content: compressed!("index.html") },
    Asset { path: "favicon.svg", kind: "image/svg+xml", content: compressed!("favicon.svg") },
    Asset::style("style.css", compressed!("style.css")),
    Asset::script("agent.js", compressed!("agent.js")),
    Asset::script("api.js", compressed!("api.js")),
    Asset::script("app.js", compressed!("app.js")),
    Asset::script("chart.js", compressed!("chart.js")),
    Asset::script("columns.js", compressed!("columns.js")),
    Asset::script("container.js", compressed!("container.js")),
    Asset::script("dom.js", compressed!("dom.js")),
    Asset::script("fleet.js", compressed!("fleet.js")),
    Asset::script("format.js", compressed!("format.js")),
    Asset::script("lists.js", compressed!("lists.js")),
    Asset::script("numbers.js", compressed!("numbers.js")),
    Asset::script("overview.js", compressed!("overview.js")),
    Asset::script("past.js", compressed!("past.js")),
    Asset::script("storage.js", compressed!("storage.js")),
    Asset::script("stream.js", compressed!("stream.js")),
    Asset::script("table.js", compressed!("table.js")),
    Asset::script("findings.js", compressed!("findings.js")),
    // The charts (https://github.com/leeoniya/uPlot, 1.6.32, MIT), as published.
    Asset::script("uPlot.iife.min.js", compressed!("uPlot.iife.min.js")),
    Asset::style("uPlot.min.css", compressed!("uPlot.min.css")),
    Asset { path: "uPlot.LICENSE", kind: "text/plain; charset=utf-8", content: compressed!("uPlot.LICENSE") },
];

/// Serves a file of the page, or answers that the client's copy is current.
pub(super) fn serve(path: &str, request: &HeaderMap) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) else {
        return Problem::not_found("the page has no such file").into_response();
    };
    let tag = tag(asset.content);
    let known = request.get_all(IF_NONE_MATCH).iter().any(|tags| {
        let tags = tags.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        tags.map(|known| known.strip_prefix(b"W/").unwrap_or(known))
            .any(|known| known == tag.as_bytes() || known == b"*")
    });
    let Ok(content) = decompress_to_vec(asset.content) else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(asset.kind)), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let mut response =
        if known { (StatusCode::NOT_MODIFIED, headers).into_response() } else { (headers, content).into_response() };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    if known {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response
}

/// Computes the entity tag of a file (FNV-1a, 64 bits).
fn tag(content: &[u8]) -> String {
    let hash = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("\"{hash:016x}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_beside_the_page_is_served() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/page");
        for entry in std::fs::read_dir(dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if name == "index.html" { "" } else { &name };
            let asset = ASSETS.iter().find(|asset| asset.path == path);
            let asset = asset.unwrap_or_else(|| panic!("{name} is missing in ASSETS"));
            let written = crate::foreign::read(format!("{dir}/{name}").as_ref(), 1 << 20).unwrap();
            assert_eq!(decompress_to_vec(asset.content).unwrap(), written, "{name}");
        }
    }
}
