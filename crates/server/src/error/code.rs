//! The one list of what can be wrong: a stable code for programs, its status, and a title. `docs/errors` has a page for each.

use http::StatusCode;

/// Where the pages are.
const PAGES: &str = concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/errors/");

macro_rules! codes {
    ($($variant:ident $name:literal $status:ident $title:literal;)*) => {
        /// What is wrong, for programs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// Every code.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is written in answers; never changes.
            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The status it is answered with.
            pub(crate) fn status(self) -> StatusCode {
                match self { $(Self::$variant => StatusCode::$status,)* }
            }

            /// A few words, always the same for a code.
            pub(crate) fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// The address of its page.
            pub(crate) fn page(self) -> String {
                match self { $(Self::$variant => format!("{PAGES}{}.md", $name),)* }
            }
        }
    };
}

// A new code also needs a page in docs/errors: a test says so.
codes! {
    Invalid "invalid" BAD_REQUEST "The request is not as it has to be";
    Unauthorized "unauthorized" UNAUTHORIZED "No valid token came with the request";
    Forbidden "forbidden" FORBIDDEN "This caller may not do this";
    NotFound "not_found" NOT_FOUND "There is no such thing";
    NoImage "no_image" NOT_FOUND "The node does not have this image";
    MethodNotAllowed "method_not_allowed" METHOD_NOT_ALLOWED "This path has no such method";
    RequestTimeout "request_timeout" REQUEST_TIMEOUT "The request came too slowly";
    Ambiguous "ambiguous" CONFLICT "Several jobs match";
    NameInUse "name_in_use" CONFLICT "The name is taken";
    KeyInUse "key_in_use" CONFLICT "The idempotency key was used for another request";
    NotUnique "not_unique" CONFLICT "Another job stands for this one";
    DefinitionExists "definition_exists" CONFLICT "Another definition has this name and version";
    ScheduleExists "schedule_exists" CONFLICT "A schedule has this name";
    Conflict "conflict" CONFLICT "It cannot be done in the present state";
    HeldByAnotherNode "held_by_another_node" CONFLICT "Another node holds the job";
    StepTimedOut "step_timed_out" UNPROCESSABLE_ENTITY "The step took longer than its timeout";
    TooLarge "too_large" PAYLOAD_TOO_LARGE "The request is too large";
    UnsupportedMediaType "unsupported_media_type" UNSUPPORTED_MEDIA_TYPE "The body is of another kind";
    Unsupported "unsupported" UNPROCESSABLE_ENTITY "This machine or driver cannot do it";
    BadImage "bad_image" UNPROCESSABLE_ENTITY "The image cannot be used";
    UpgradeRequired "upgrade_required" UPGRADE_REQUIRED "This path speaks another protocol";
    RateLimited "rate_limited" TOO_MANY_REQUESTS "Too many requests";
    Failed "failed" INTERNAL_SERVER_ERROR "It was tried and failed";
    Internal "internal" INTERNAL_SERVER_ERROR "The daemon itself failed";
    Registry "registry" BAD_GATEWAY "A registry does not give the image";
    Timeout "timeout" SERVICE_UNAVAILABLE "The daemon is too busy";
    Fenced "fenced" SERVICE_UNAVAILABLE "Another daemon took over from this one";
    NoSpace "no_space" INSUFFICIENT_STORAGE "The disk is full";
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::path::Path;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        let pages: BTreeSet<String> = std::fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        let codes: BTreeSet<String> = Code::ALL
            .iter()
            .map(|code| format!("{}.md", code.name()))
            .collect();
        assert_eq!(pages, codes);
        let index = std::fs::read_to_string(folder.join("README.md")).unwrap();
        for code in Code::ALL {
            let text = std::fs::read_to_string(folder.join(format!("{}.md", code.name()))).unwrap();
            let head = format!(
                "# {}\n\n{}, {}.\n",
                code.name(),
                code.status(),
                code.title()
            );
            assert!(
                text.starts_with(&head),
                "{}.md does not begin with {head:?}",
                code.name()
            );
            for section in ["## What it means", "## What to do"] {
                assert!(
                    text.contains(section),
                    "{}.md has no section {section:?}",
                    code.name()
                );
            }
            assert!(
                index.contains(&format!("({}.md)", code.name())),
                "{} is not in the index",
                code.name()
            );
        }
    }

    #[test]
    fn no_two_codes_share_a_name() {
        let names: BTreeSet<&str> = Code::ALL.iter().map(|code| code.name()).collect();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
