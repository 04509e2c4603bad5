//! The files of the page, inside of the binary.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};

use super::problem::Problem;

/// A file, and what it is.
struct Asset {
    path: &'static str,
    kind: &'static str,
    content: &'static [u8],
}

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

const ASSETS: &[Asset] = &[
    Asset { path: "", kind: "text/html; charset=utf-8", content: include_bytes!("page/index.html") },
    Asset { path: "app.js", kind: SCRIPT, content: include_bytes!("page/app.js") },
    Asset { path: "style.css", kind: STYLE, content: include_bytes!("page/style.css") },
    Asset { path: "favicon.svg", kind: "image/svg+xml", content: include_bytes!("page/favicon.svg") },
];

/// A file of the page, or that the client has it already.
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
    let headers =
        [(CONTENT_TYPE, HeaderValue::from_static(asset.kind)), (CACHE_CONTROL, HeaderValue::from_static("no-cache"))];
    let mut response = if known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, asset.content).into_response()
    };
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, tag);
    }
    if known {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response
}

/// Tells one version of a file from another (FNV-1a, 64 bits).
fn tag(content: &[u8]) -> String {
    let hash = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    format!("\"{hash:016x}\"")
}
