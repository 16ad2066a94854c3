//! The two pages that a browser sees of a login with a provider: one that goes on by itself, and one that says what is wrong.
//!
//! After a login the browser is on its way from another site, and would leave out the session's cookie (`SameSite=Strict`) if it were
//! only sent on. A page that it is shown first makes the next request one of this site. There is no script in either, and nothing
//! from elsewhere.

use axum::response::{IntoResponse, Response};
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue, REFERRER_POLICY,
};
use http::{HeaderMap, StatusCode};

use super::reference::escaped;
use crate::auth::ReturnTo;
use crate::http::problem::Problem;

const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A page that goes on to a path.
pub(super) fn goes_on_to(path: &ReturnTo) -> Response {
    let path = escaped(path.as_str());
    let head = format!("<meta http-equiv=\"refresh\" content=\"0;url={path}\">");
    page(StatusCode::OK, "Logged in", &head, &format!("<p><a href=\"{path}\">Continue</a></p>"))
}

/// A problem: for people where the browser asks for a page, else for programs.
pub(super) fn of_problem(problem: Problem, headers: &HeaderMap) -> Response {
    if !wants_page(headers) {
        return IntoResponse::into_response(problem);
    }
    let (words, code) = (escaped(problem.words()), problem.code());
    let title = escaped(problem.title());
    let body = format!("<p>{words}</p>\n<p><code>{code}</code></p>\n<p><a href=\"/\">Back</a></p>");
    let mut response = page(StatusCode::OK, &title, "", &body);
    // Status, `Retry-After` and what is counted are the problem's.
    let (mut parts, _) = IntoResponse::into_response(problem).into_parts();
    // Each header of the page in the place of the problem's.
    parts.headers.extend(std::mem::take(response.headers_mut()));
    Response::from_parts(parts, response.into_body())
}

/// Whether a page is among what is asked for by name, as browsers do.
fn wants_page(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut types =
        texts.flat_map(|text| text.split(',')).map(|range| range.split(';').next().unwrap_or_default());
    types.any(|range| range.trim().eq_ignore_ascii_case("text/html"))
}

/// All texts are escaped already.
fn page(status: StatusCode, title: &str, head: &str, body: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{title}</title>{head}</head>\n\
         <body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n"
    );
    let headers: [(HeaderName, HeaderValue); 4] = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    (status, headers, html).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn accepting(accept: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(accept))])
    }

    #[test]
    fn only_who_asks_for_a_page_gets_one() {
        assert!(wants_page(&accepting("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")));
        assert!(wants_page(&accepting("application/json, Text/HTML;q=0.5")));
        for accept in ["*/*", "application/json", "text/htmlx", "text/*", ""] {
            assert!(!wants_page(&accepting(accept)), "{accept}");
        }
    }

    #[tokio::test]
    async fn a_path_cannot_end_the_text_that_it_stands_in() {
        let path = ReturnTo::parse("/a?b=\"><script>alert('x')</script>&c").unwrap();
        let html = goes_on_to(&path).into_body().collect().await.unwrap().to_bytes();
        let html = String::from_utf8(html.to_vec()).unwrap();
        assert!(!html.contains("<script"), "{html}");
        assert!(html.contains("content=\"0;url=/a?b=&quot;&gt;&lt;script&gt;"), "{html}");
    }

    #[tokio::test]
    async fn a_problem_keeps_its_status_and_its_wait_as_a_page() {
        let problem = || {
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "some_code", "It <fails>")
                .retry_after(std::time::Duration::from_secs(3))
        };
        let response = of_problem(problem(), &accepting("text/html"));
        assert_eq!(
            (response.status().as_u16(), &response.headers()["retry-after"]),
            (503, &HeaderValue::from(3))
        );
        assert_eq!(response.headers()["content-type"], "text/html; charset=utf-8");
        let html = response.into_body().collect().await.unwrap().to_bytes();
        let html = String::from_utf8(html.to_vec()).unwrap();
        assert!(html.contains("some_code") && html.contains("It &lt;fails&gt;"), "{html}");
        let response = of_problem(problem(), &accepting("*/*"));
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}
