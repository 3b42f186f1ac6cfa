// The English sentences of the views that only admins see.

/** @param {number} count @param {string} one @param {string} many */
export const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export const forAdmins = {
  users: {
    /** @param {string} name */
    notChanged: name => `The limits of ${name} were not changed`,
    /** @param {string} name */
    notReset: name => `The spend of ${name} was not reset`,
    /** @param {string} name */
    notOffboarded: name => `${name} was not off-boarded`,
    offboardAgain: 'Off-board',
    /** @param {string} name */
    gone: name => `${name} was off-boarded meanwhile`,
    title: 'Users',
    lead: 'The people, groups and components that have a user in LiteLLM.',
    search: 'Search by id, name or e-mail address',
    empty: 'Nobody was found.',
    columns: {
      user: 'User',
      status: 'Status',
      kind: 'Kind',
      tier: 'Tier',
      spend: 'Spend',
      budget: 'Budget',
      since: 'Created',
    },
    anyKind: 'Any kind',
    status: { active: 'Active', overBudget: 'Over budget', offboarding: 'Leaving' },
    created: 'created',
    defaultTier: 'default',
    /** @param {string} time */
    swept: time => `As of ${time}.`,
    unknown: 'There is no such user.',
    back: 'All users',
    overHint: 'LiteLLM refuses the calls of all keys.',
    editBudget: 'Change limits',
    unlimited: 'Yes: no limit to what this user may spend',
    /** @param {string} name */
    editTitle: name => `Limits of ${name}`,
    resetSpend: 'Reset spend',
    /** @param {string} name */
    resetTitle: name => `Reset the spend of ${name}`,
    /** @param {string} spend */
    resetLead: spend =>
      `The ${spend} of this period become $0.00, so the whole budget can be spent again. Reports keep what was spent.`,
    offboard: 'Off-board',
    /** @param {string} name */
    offboardTitle: name => `Off-board ${name}`,
    /** @param {number} keys @param {string} spend @param {string} soon @param {boolean} isPerson */
    offboardLead: (keys, spend, soon, isPerson) =>
      `${plural(keys, 'key stops', 'keys stop')} working ${soon} and ${keys === 1 ? 'is' : 'are'} deleted with the ` +
      `user. Their spending of ${spend} disappears from this page; LiteLLM’s reports keep it. ` +
      'There is no grace period. ' +
      (isPerson
        ? 'If they are still in an allowed group, remove them there first, or their next request makes a new user.'
        : 'As long as an entry of litellmOrchestrator.owners matches it, its next key makes a new user.'),
    /** @param {string} name */
    offboardButton: name => `Off-board ${name} for good`,
    uid: 'uid in the catalog:',
    /** @param {string} reason */
    offboarded: reason => `Off-boarding: ${reason}.`,
    accept: 'Accept another uid',
    /** @param {string} name */
    acceptTitle: name => `Accept another uid of ${name}`,
    /** @param {string} name */
    acceptLead: name =>
      `${name} was registered again in Backstage’s catalog. Accept its uid only if it is the same as before: those ` +
      'who manage it now get its keys and its budget. The next run of the off-boarding unblocks what it blocked.',
    newUid: 'Its uid now',
    newUidHint: 'metadata.uid of the entity: Inspect entity, in Backstage.',
    /** @param {string} name */
    acceptButton: name => `Accept this uid of ${name}`,
    /** @param {string} name */
    notAccepted: name => `The uid of ${name} was not accepted`,
  },
  ownerSums: {
    title: 'Groups and components in sum',
    lead: 'What those with a user in LiteLLM may spend, each in its own period, and what they spent of it.',
    columns: { entry: 'Entry', group: 'Group', owners: 'Owners', spend: 'Spend', budget: 'Budget' },
    spent: 'spent',
    unmatched: 'No entry matches',
    /** @param {number} count @param {string} tier */
    groups: (count, tier) => `${tier}: by ${plural(count, 'group', 'groups')}`,
    /** @param {number} count @param {number} most */
    of: (count, most) => `${count} of ${most}`,
  },
  knownSecrets: {
    title: 'Known secrets',
    /** @param {string} name */
    lead: name => `Keys of groups and components whose secret ${name} received. A rotation takes a key off this list.`,
    /** @param {string} name */
    none: name => `As far as the audit log knows, ${name} received none.`,
    /** @param {number} count */
    unknown: count =>
      `${plural(count, 'other key', 'other keys')} of groups and components: nobody knows who received the secret`,
    columns: { key: 'Key', owner: 'Owner', received: 'Received' },
  },
  workloads: {
    title: 'Workloads',
    lead: 'Software that shows an OpenID token of its own gets a key of minutes, by these rules: no secret is stored.',
    none: 'There are no rules: litellmOrchestrator.workloads is not set.',
    test: {
      title: 'Try a token',
      label: 'A token, or its claims as JSON',
      hint: 'A token is sent for this test only, and removed from the page at once. Nothing is changed.',
      button: 'Try it',
      notTried: 'The rules were not asked',
      noJson: 'This begins like claims, and is no JSON.',
      /** @param {string} issuer */
      verified: issuer => `The token is one of ${issuer}.`,
      /** @param {string} reason */
      unverified: reason => `The token does not verify: ${reason}.`,
      claims: 'Taken as if they were verified.',
      noIssuer: 'Their iss is no issuer of the settings.',
      rule: 'Rule',
      result: 'Result',
      reason: 'First check that does not match',
      matched: 'Matches',
      not: 'Does not match',
    },
    issuers: {
      title: 'Issuers',
      name: 'Issuer',
      health: 'Keys',
      audience: 'Audience',
      read: 'Read',
      /** @param {number} count */
      keys: count => plural(count, 'key', 'keys'),
      failed: 'Cannot be read',
      inSettings: 'in the settings',
    },
    rules: {
      title: 'Rules',
      name: 'Rule',
      owner: 'Owner',
      match: 'Matches',
      limits: 'Limits of a key',
      living: 'Living keys',
      used: 'Last key',
      /** @param {string} life */
      life: life => `at most ${life}`,
      /** @param {string} budget */
      budget: budget => `budget ${budget}`,
      /** @param {number} count */
      perMinute: count => `${plural(count, 'key', 'keys')} a minute`,
      of: 'of',
    },
  },
  cleanup: {
    notPlanned: 'The preview was not made',
    notApplied: 'The plan was not carried out',
    title: 'Off-boarding',
    lead:
      'Every few minutes, users who left the groups are blocked, and deleted after the grace period. ' +
      'Users that this service did not create are deleted once an admin confirms.',
    off: 'The cleanup is off. Set litellmOrchestrator.backstage.catalogToken.',
    dryRun: 'Preview',
    running: 'A run is in progress.',
    /** @param {number} checked @param {number} total */
    progress: (checked, total) => `Checked ${checked} of ${total} users`,
    next: 'Next run',
    grace: 'Grace before deletion',
    noGrace: 'none',
    last: 'Last run',
    members: 'In the groups',
    /** @param {string} members @param {string} admins */
    people: (members, admins) =>
      `${members} ${members === '1' ? 'member' : 'members'}, ${admins} ${admins === '1' ? 'admin' : 'admins'}`,
    /** @param {number} count */
    orphans: count => `${count} of them only as ${count === 1 ? 'an orphan' : 'orphans'} of the catalog`,
    due: 'any moment',
    /** @param {string} time */
    preview: time => `Preview of ${time}, not carried out`,
    /** @param {string} time */
    ran: time => `Run of ${time}`,
    planTitle: 'Who is affected',
    nothing: 'Nobody would be removed.',
    nobody: 'Nobody was affected.',
    findingsTitle: 'To look at',
    /** By the known values of `kind`. @type {Record<string, string>} */
    findings: {
      spelling: 'Id not in lower case',
      twoSpellings: 'Id in two spellings',
      sameAddress: 'Same e-mail address as somebody who leaves',
      childGroups: 'Child groups that the catalog does not show',
      knownSecret: 'Leaves, and knows a secret of software',
      unmanaged: 'Managed by nobody',
    },
    columns: {
      user: 'User',
      action: 'What happens',
      done: 'What happened',
      reason: 'Why',
      since: 'Not in a group since',
      deletion: 'Deleted',
      keys: 'Keys',
    },
    gone: 'gone',
    actions: { block: 'Block the keys', hold: 'On hold', delete: 'Delete', restore: 'Restore' },
    did: {
      block: 'Keys blocked',
      hold: 'On hold',
      delete: 'Deleted',
      restore: 'Keys restored',
      none: 'Nothing done',
      now: 'in this run',
    },
    failedFor: 'Failed',
    /** @param {number} users @param {number} keys */
    deletes: (users, keys) =>
      `${plural(users, 'user', 'users')} and ${plural(keys, 'key', 'keys')} will be deleted. This cannot be undone.`,
    now: 'now',
    onceConfirmed: 'once an admin confirms',
    /** @param {string} time */
    after: time => `after ${time}`,
    nextRun: 'in the next run',
    outcomes: { running: 'Running', planned: 'Planned', done: 'Done', refused: 'Refused', failed: 'Failed' },
    /** @param {string} soon */
    effect: soon => `A blocked or deleted key stops working ${soon}.`,
    /** @param {number} count */
    apply: count => `Carry out this plan for ${plural(count, 'user', 'users')}`,
    none: 'no run yet',
  },
  audit: {
    notExported: 'The file was not made',
    exportAgain: 'Export again',
    exportedPart: 'The file is not complete',
    title: 'Audit log',
    lead: 'Who changed what, and what it was before.',
    actor: 'Actor',
    target: 'Affected user',
    action: 'Action',
    person: 'name or e-mail',
    of: 'of',
    /** @param {number} count @param {boolean} isMost */
    several: (count, isMost) => `${isMost ? 'More than ' : ''}${count} people match. Choose one.`,
    /** @param {string} typed */
    nobody: typed => `Nobody is called “${typed}”.`,
    /** @param {string} ref */
    left: ref => `${ref}, who is no user now`,
    reversed: 'Before “Since”.',
    any: 'anything',
    since: 'Since',
    until: 'Until',
    empty: 'Nothing matches.',
    columns: {
      at: 'When',
      actor: 'Actor',
      action: 'Action',
      target: 'Affected user',
      key: 'Key',
      outcome: 'Outcome',
      change: 'Change',
    },
    export: 'Download CSV',
    /** @param {number} count */
    exporting: count => `Reading… ${count}`,
    /** @param {number} most */
    exportedMost: most => `The file has the newest ${most} events only. Choose a shorter time for the others.`,
    outcomes: { done: 'Done', reconciled: 'Repaired', denied: 'Refused', failed: 'Failed', open: 'Not finished' },
  },
  health: {
    title: 'Health',
    lead: 'What this service needs, asked every ten seconds.',
    parts: { litellm: 'LiteLLM', backstage: 'Backstage', database: 'Database' },
    up: 'Up',
    down: 'Down',
    paused: 'Calls are paused',
    all: 'Everything works.',
    elsewhere: 'The health probes cannot be reached at this address: they are at the root of the service.',
    some: 'Something does not work.',
    consequences: {
      litellm: 'No user or key can be read or changed. The audit log and off-boarding still answer.',
      backstage: 'Nobody new can sign in.',
      database: 'Nothing can be changed, and no keys can be listed.',
    },
  },
};
