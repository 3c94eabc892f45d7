//! Definitions: registered once, looked up by version or as the latest.

use crate::{Engine, Error, asker, clock};
use dauer_core::definition::{self, LATEST};
use dauer_core::warm::POOL_MAX;
use dauer_core::{Definition, DefinitionRef, Job, JobId, JobSpec, Warm, parse};
use dauer_store::DefinitionFilter;

impl Engine {
    /// Registers a definition; `spec` is what a job of it would be, with nothing added. What is registered already with the same
    /// words stays as it is and is returned.
    ///
    /// # Errors
    /// `InvalidField` naming the field of the request, and whatever [`Engine::submit`] would refuse; `DefinitionExists` where
    /// there is another one of this name and version.
    pub async fn define(
        &self,
        definition: Definition,
        mut spec: JobSpec,
    ) -> Result<Definition, Error> {
        parse::name(&definition.name).map_err(|text| Error::invalid("name", text))?;
        definition::version(&definition.version).map_err(|text| Error::invalid("version", text))?;
        if spec.driver == "auto" {
            spec.driver = self.default_driver().await?;
        }
        if let Some(warm) = &definition.warm {
            check_warm(warm)?;
            if let Some(why) = self.cannot_freeze(&spec) {
                let text = format!("its jobs could not begin from a frozen one: {why}");
                return Err(Error::invalid("warm", text));
            }
        }
        let sample = Job::new(JobId(String::new()), spec, clock::now());
        self.check_all(vec![sample], false)
            .await
            .map_err(of_definition)?;
        let id = DefinitionRef {
            name: definition.name.clone(),
            version: definition.version.clone(),
        };
        loop {
            let audit = asker::audit("definition_added", format!("definition {id}"), None);
            match self.store().define(definition.clone(), audit).await {
                Ok(()) => return Ok(definition),
                Err(dauer_store::Error::Defined(_)) => {}
                Err(error) => return Err(error.into()),
            }
            match self.store().definition(&id).await? {
                Some(present) if present.says_the_same_as(&definition) => return Ok(present),
                Some(_) => return Err(Error::DefinitionExists(id)),
                // Removed in between.
                None => {}
            }
        }
    }

    /// The definition of this name and version, or of the highest version where that is `latest`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn definition(&self, name: &str, version: &str) -> Result<Definition, Error> {
        let not_found = |version: &str| Error::NoDefinition(format!("{name}@{version}"));
        let version = if version == LATEST {
            let versions = self.store().versions(name).await?;
            definition::latest(versions.iter().map(String::as_str))
                .ok_or_else(|| not_found(LATEST))?
                .to_owned()
        } else {
            version.to_owned()
        };
        let id = DefinitionRef {
            name: name.to_owned(),
            version,
        };
        let found = self.store().definition(&id).await?;
        found.ok_or_else(|| not_found(&id.version))
    }

    /// A page of definitions, by name and version as texts.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn definitions(&self, filter: DefinitionFilter) -> Result<Vec<Definition>, Error> {
        Ok(self.store().definitions(filter).await?)
    }

    /// Removes a definition; jobs that were made from it keep everything.
    ///
    /// # Errors
    /// `NoDefinition`.
    pub async fn undefine(&self, name: &str, version: &str) -> Result<(), Error> {
        let found = self.definition(name, version).await?;
        let id = DefinitionRef {
            name: found.name,
            version: found.version,
        };
        let audit = asker::audit("definition_removed", format!("definition {id}"), None);
        match self.store().undefine(&id, audit).await {
            Err(dauer_store::Error::NotFound(what)) => return Err(Error::NoDefinition(what)),
            result => result?,
        }
        // Whoever makes one looks for the definition after it; what is left by a crash here goes at the next start.
        self.remove_template_of(&id).await.map(drop)
    }
}

fn check_warm(warm: &Warm) -> Result<(), Error> {
    if warm.pool > POOL_MAX {
        let text = format!("{} sandboxes that wait: at most {POOL_MAX}", warm.pool);
        return Err(Error::invalid("warm.pool", text));
    }
    Ok(())
}

/// Where in a definition it is that a job of it would be refused for.
fn of_definition(error: Error) -> Error {
    match error {
        Error::InvalidField { field, message } if field == "driver" => {
            Error::invalid("runtime_type", message)
        }
        Error::InvalidField { field, message } if field.starts_with("retry.") => {
            Error::invalid(field.replacen("retry", "retry_policy", 1), message)
        }
        Error::InvalidField { field, message } if field == "metadata" => {
            Error::invalid(field, message)
        }
        Error::BadImage(message) => Error::invalid("config.image", message),
        Error::Unsupported(message) => Error::invalid("runtime_type", message),
        Error::Invalid(message) => Error::invalid("config", message),
        error @ Error::InvalidField { .. } => error.within("config"),
        other => other,
    }
}
