//! The files of the page, inside of the binary.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, IF_NONE_MATCH};

use super::problem::Problem;

/// A file, and its media type.
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

const ASSETS: &[Asset] = &[
    Asset { path: "", kind: "text/html; charset=utf-8", content: include_bytes!("page/index.html") },
    Asset { path: "favicon.svg", kind: "image/svg+xml", content: include_bytes!("page/favicon.svg") },
    Asset::style("style.css", include_bytes!("page/style.css")),
    Asset::script("agent.js", include_bytes!("page/agent.js")),
    Asset::script("api.js", include_bytes!("page/api.js")),
    Asset::script("app.js", include_bytes!("page/app.js")),
    Asset::script("chart.js", include_bytes!("page/chart.js")),
    Asset::script("columns.js", include_bytes!("page/columns.js")),
    Asset::script("container.js", include_bytes!("page/container.js")),
    Asset::script("dom.js", include_bytes!("page/dom.js")),
    Asset::script("fleet.js", include_bytes!("page/fleet.js")),
    Asset::script("format.js", include_bytes!("page/format.js")),
    Asset::script("numbers.js", include_bytes!("page/numbers.js")),
    Asset::script("overview.js", include_bytes!("page/overview.js")),
    Asset::script("past.js", include_bytes!("page/past.js")),
    Asset::script("table.js", include_bytes!("page/table.js")),
    Asset::script("findings.js", include_bytes!("page/findings.js")),
    // The charts (https://github.com/leeoniya/uPlot, 1.6.32, MIT), as published.
    Asset::script("uPlot.iife.min.js", include_bytes!("page/uPlot.iife.min.js")),
    Asset::style("uPlot.min.css", include_bytes!("page/uPlot.min.css")),
    Asset { path: "uPlot.LICENSE", kind: "text/plain; charset=utf-8", content: include_bytes!("page/uPlot.LICENSE") },
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
            assert!(ASSETS.iter().any(|asset| asset.path == path), "{name} is missing in ASSETS");
        }
    }
}
