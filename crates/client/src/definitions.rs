//! Definitions, batches, and what else there is to ask about jobs that are to come.

use crate::calls::{escape, path};
use crate::connection::{self, whole};
use crate::{Client, Error};
use bytes::Bytes;
use dauer_wire::http::{
    CancelCall, CreateDefinition, CreateJob, CreateJobs, DefinitionPage, DefinitionView, JobView,
    Templates,
};
use http::Method;

impl Client {
    /// Registers a definition. The same again changes nothing.
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid` and the field's path, `definition_exists`.
    pub async fn define(&self, definition: &CreateDefinition) -> Result<DefinitionView, Error> {
        self.post("/v1/definitions", definition).await
    }

    /// One page of definitions, of this name or of all, by name and version as texts.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn definitions(
        &self,
        name: Option<&str>,
        cursor: Option<&str>,
    ) -> Result<DefinitionPage, Error> {
        let mut query = vec!["limit=1000".to_owned()];
        query.extend(name.map(|name| format!("name={}", escape(name))));
        query.extend(cursor.map(|cursor| format!("cursor={}", escape(cursor))));
        self.get(&format!("/v1/definitions?{}", query.join("&")))
            .await
    }

    /// A definition; its version may be `latest`.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn definition(&self, name: &str, version: &str) -> Result<DefinitionView, Error> {
        self.get(&definition(name, version)).await
    }

    /// Removes a definition; jobs that were made from it keep everything.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`.
    pub async fn undefine(&self, name: &str, version: &str) -> Result<(), Error> {
        let target = definition(name, version);
        let request = self.request(Method::DELETE, &target, whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// What jobs of definitions that begin warm begin from, on this node.
    ///
    /// # Errors
    /// [`Error::Unreachable`], [`Error::Lost`].
    pub async fn templates(&self) -> Result<Templates, Error> {
        self.get("/v1/templates").await
    }

    /// Removes what jobs of a definition begin from; the next one makes another.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where there is none.
    pub async fn remove_template(&self, name: &str, version: &str) -> Result<(), Error> {
        let target = format!("{}/template", definition(name, version));
        let request = self.request(Method::DELETE, &target, whole(Bytes::new()))?;
        connection::call(&self.host, request).await.map(drop)
    }

    /// Hands many jobs over, all or none; returns their ids in this order.
    ///
    /// # Errors
    /// As [`Client::create`]; `too_large` beyond 10,000.
    pub async fn create_all(&self, jobs: Vec<CreateJob>) -> Result<Vec<String>, Error> {
        let batch_id = None;
        let jobs = CreateJobs { jobs, batch_id };
        Ok(self.create_batch(&jobs).await?.job_ids)
    }

    /// Ends a job that has not ended, with `children` also all jobs below it; returns when all of them have.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` where it completed or failed.
    pub async fn cancel(
        &self,
        job: &str,
        grace_ms: Option<u64>,
        children: bool,
    ) -> Result<JobView, Error> {
        let call = CancelCall { grace_ms, children };
        self.post(&path(job, "/cancel"), &call).await
    }

    /// Tries a job again that failed or was cancelled, from its start.
    ///
    /// # Errors
    /// [`Error::Refused`] with `not_found`, `conflict` in any other state.
    pub async fn retry(&self, job: &str) -> Result<JobView, Error> {
        self.post(&path(job, "/retry"), &()).await
    }
}

fn definition(name: &str, version: &str) -> String {
    format!("/v1/definitions/{}/{}", escape(name), escape(version))
}
