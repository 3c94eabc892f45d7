//! Who a command runs as: looked up in the sandbox's own `/etc/passwd` and `/etc/group`.

use std::fs;

/// A user with all that goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) groups: Vec<u32>,
    pub(super) home: String,
    pub(super) name: Option<String>,
    /// It was asked for. Where not, the command keeps the agent's own identity, whatever that is.
    pub(super) asked: bool,
}

/// The account of `uid[:gid]`, `name[:group]`, or of nobody in particular.
///
/// # Errors
/// One line naming what is unknown.
pub(super) fn find(user: Option<&str>) -> Result<Account, String> {
    // A sandbox without these files has only numbers; that is not an error until a name is asked for.
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    find_in(user, &passwd, &group)
}

fn find_in(user: Option<&str>, passwd: &str, group: &str) -> Result<Account, String> {
    let asked = user.is_some_and(|user| !user.is_empty());
    let (user, own_group) = match user
        .filter(|user| !user.is_empty())
        .unwrap_or("0")
        .split_once(':')
    {
        Some((user, own_group)) => (user, Some(own_group)),
        None => (user.filter(|user| !user.is_empty()).unwrap_or("0"), None),
    };
    let mut account = match lookup(passwd, user) {
        Some(account) => account,
        None => match user.parse() {
            Ok(uid) => Account {
                uid,
                gid: 0,
                groups: Vec::new(),
                home: "/".into(),
                name: None,
                asked,
            },
            Err(_) => return Err(format!("user {user} is not in /etc/passwd of the sandbox")),
        },
    };
    account.asked = asked;
    match own_group {
        Some(name) => {
            account.gid = group_id(group, name)
                .ok_or(format!("group {name} is not in /etc/group of the sandbox"))?
        }
        None => {
            account.groups = account
                .name
                .as_deref()
                .map(|name| memberships(group, name))
                .unwrap_or_default()
        }
    }
    if !account.groups.contains(&account.gid) {
        account.groups.insert(0, account.gid);
    }
    Ok(account)
}

/// A line of passwd by name or, failing that, by number.
fn lookup(passwd: &str, user: &str) -> Option<Account> {
    let accounts: Vec<Account> = passwd.lines().filter_map(account).collect();
    let by_name = accounts
        .iter()
        .find(|account| account.name.as_deref() == Some(user));
    let uid: Option<u32> = user.parse().ok();
    by_name
        .or_else(|| accounts.iter().find(|account| Some(account.uid) == uid))
        .cloned()
}

/// `name:password:uid:gid:comment:home:shell`
fn account(line: &str) -> Option<Account> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, ..] = fields[..] else {
        return None;
    };
    Some(Account {
        uid: uid.parse().ok()?,
        gid: gid.parse().ok()?,
        groups: Vec::new(),
        home: if home.is_empty() {
            "/".into()
        } else {
            home.into()
        },
        name: Some(name.into()),
        asked: false,
    })
}

/// `name:password:gid:member,member`
fn group_fields(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let (name, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
    Some((name, gid.parse().ok()?, fields.next().unwrap_or_default()))
}

fn group_id(group: &str, name: &str) -> Option<u32> {
    let named = group
        .lines()
        .filter_map(group_fields)
        .find(|(group, ..)| *group == name);
    named.map(|(_, gid, _)| gid).or_else(|| name.parse().ok())
}

fn memberships(group: &str, user: &str) -> Vec<u32> {
    let member = |members: &str| members.split(',').any(|member| member == user);
    group
        .lines()
        .filter_map(group_fields)
        .filter(|(_, _, members)| member(members))
        .map(|(_, gid, _)| gid)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nana:x:1000:1000::/home/ana:/bin/sh\nbroken\n";
    const GROUP: &str = "root:x:0:\nana:x:1000:\nvideo:x:44:ana,bob\naudio:x:29:bob\n";

    #[test]
    fn every_way_to_name_a_user_finds_its_ids_and_groups() {
        for (user, uid, gid, groups, home) in [
            (None, 0, 0, vec![0], "/root"),
            (Some(""), 0, 0, vec![0], "/root"),
            (Some("ana"), 1000, 1000, vec![1000, 44], "/home/ana"),
            (Some("1000"), 1000, 1000, vec![1000, 44], "/home/ana"),
            (Some("1000:29"), 1000, 29, vec![29], "/home/ana"),
            (Some("ana:audio"), 1000, 29, vec![29], "/home/ana"),
            (Some("77"), 77, 0, vec![0], "/"),
            (Some("77:78"), 77, 78, vec![78], "/"),
        ] {
            let account = find_in(user, PASSWD, GROUP).unwrap();
            assert_eq!(
                (account.uid, account.gid, account.groups, &*account.home),
                (uid, gid, groups, home),
                "{user:?}"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_refused_by_name() {
        assert_eq!(
            find_in(Some("eve"), PASSWD, GROUP).unwrap_err(),
            "user eve is not in /etc/passwd of the sandbox"
        );
        assert_eq!(
            find_in(Some("ana:eve"), PASSWD, GROUP).unwrap_err(),
            "group eve is not in /etc/group of the sandbox"
        );
    }
}
