//! Where a store is: what a URL says, and opening it.

use crate::error::failed;
use crate::{Durability, Error, Sqlite, Store};
use std::path::PathBuf;
use std::sync::Arc;

/// A store by its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Memory,
    Sqlite(PathBuf),
    Postgres,
    Redis,
}

/// Opens the store of this URL: `sqlite:PATH`, `postgres://…`, `redis://…`, `rediss://…`, `redis+unix:PATH` or `memory:`. A file
/// is opened for several daemons of this machine.
///
/// # Errors
/// `Backend`, in words for whoever wrote the URL; passwords are not in them.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, Error> {
    match place(url)? {
        Place::Memory => Ok(Arc::new(Sqlite::memory()?)),
        Place::Sqlite(path) => {
            let opening = move || Sqlite::open_shared(path, Durability::Full);
            let opened = tokio::task::spawn_blocking(opening).await;
            let opened = opened.map_err(|error| failed("opening the store", Some(error.into())))?;
            Ok(Arc::new(opened?))
        }
        Place::Postgres => postgres(url).await,
        Place::Redis => redis(url).await,
    }
}

#[cfg(feature = "postgres")]
async fn postgres(url: &str) -> Result<Arc<dyn Store>, Error> {
    Ok(Arc::new(crate::Postgres::connect(url).await?))
}

#[cfg(feature = "redis")]
async fn redis(url: &str) -> Result<Arc<dyn Store>, Error> {
    Ok(Arc::new(crate::Redis::connect(url).await?))
}

#[cfg(not(feature = "redis"))]
async fn redis(url: &str) -> Result<Arc<dyn Store>, Error> {
    Err(left_out(url, "redis"))
}

#[cfg(not(feature = "postgres"))]
async fn postgres(url: &str) -> Result<Arc<dyn Store>, Error> {
    Err(left_out(url, "postgres"))
}

#[cfg(not(all(feature = "postgres", feature = "redis")))]
fn left_out(url: &str, feature: &str) -> Error {
    let shown = shown(url);
    failed(
        format!("cannot open {shown}: this program was built without the feature {feature:?}"),
        None,
    )
}

fn place(url: &str) -> Result<Place, Error> {
    const KINDS: &str = "sqlite:PATH, postgres://USER@HOST/NAME, redis://HOST/NUMBER or memory:";
    let wrong = |why: &str| {
        let text = format!("{:?} is no store ({why}): write {KINDS}", shown(url));
        Err(failed(text, None))
    };
    let Some((scheme, rest)) = url.split_once(':') else {
        return wrong("nothing says what kind it is");
    };
    match scheme {
        "memory" => Ok(Place::Memory),
        "sqlite" => match rest.strip_prefix("//").unwrap_or(rest) {
            "" => wrong("it has no path"),
            path => Ok(Place::Sqlite(PathBuf::from(path))),
        },
        "postgres" | "postgresql" => Ok(Place::Postgres),
        "redis" | "rediss" | "redis+unix" | "unix" => Ok(Place::Redis),
        other => wrong(&format!("{other:?} is no kind of it")),
    }
}

/// The URL as it may be shown and logged: without passwords, and without the options, which may hold one too.
#[must_use]
pub fn shown(url: &str) -> String {
    let url = url.split_once('?').map_or(url, |(url, _)| url);
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    // A password may have slashes in it; the last at sign ends it.
    match rest.rsplit_once('@') {
        Some((user, place)) => {
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            format!("{scheme}://{user}@{place}")
        }
        None => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_kind_of_store_it_is() {
        for (url, expected) in [
            ("memory:", Place::Memory),
            ("sqlite:jobs.db", Place::Sqlite("jobs.db".into())),
            ("sqlite:/srv/a.db", Place::Sqlite("/srv/a.db".into())),
            ("sqlite:///srv/a.db", Place::Sqlite("/srv/a.db".into())),
            ("postgres://u@h/d", Place::Postgres),
            ("postgresql:///d", Place::Postgres),
            ("rediss://h:1/0", Place::Redis),
        ] {
            assert_eq!(place(url).unwrap(), expected, "{url}");
        }
        for (url, why) in [
            ("/srv/a.db", "nothing says what kind"),
            ("sqlite:", "has no path"),
            ("mysql://u:secret@h/d", "\"mysql\" is no kind"),
        ] {
            let said = place(url).unwrap_err().to_string();
            assert!(said.contains(why) && said.contains("postgres://"), "{said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }

    #[test]
    fn no_password_is_shown() {
        for (url, expected) in [
            ("postgres://u:p@h:5432/d", "postgres://u@h:5432/d"),
            (
                "postgres://u:p/@x@h/d?password=p&sslmode=require",
                "postgres://u@h/d",
            ),
            ("redis://:p@h", "redis://@h"),
            ("redis://h/0", "redis://h/0"),
            ("sqlite:/srv/a.db", "sqlite:/srv/a.db"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }
}
