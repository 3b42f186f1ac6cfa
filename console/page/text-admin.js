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
    lead: 'Everybody who has a user in LiteLLM.',
    search: 'Search by id, name or e-mail address',
    empty: 'Nobody was found.',
    columns: { user: 'User', status: 'Status', tier: 'Tier', spend: 'Spend', budget: 'Budget', since: 'Since' },
    status: { active: 'Active', overBudget: 'Over budget', offboarding: 'Leaving' },
    anyStatus: 'Any status',
    defaultTier: 'default',
    /** @param {string} time */
    swept: time => `As of ${time}.`,
    back: 'All users',
    editBudget: 'Change limits',
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
    /** @param {number} keys @param {string} spend @param {string} soon */
    offboardLead: (keys, spend, soon) =>
      `${plural(keys, 'key stops', 'keys stop')} working ${soon} and ${keys === 1 ? 'is' : 'are'} deleted with the ` +
      `user, whose spend of ${spend} is no longer shown here. There is no grace period. Spending stays in ` +
      'LiteLLM’s reports and the audit log. While they are in an allowed group, their next request creates them anew.',
    /** @param {string} name */
    offboardButton: name => `Off-board ${name} for good`,
  },
  cleanup: {
    notPlanned: 'The preview was not made',
    notApplied: 'The plan was not carried out',
    notFollowed: 'The progress of the run could not be read',
    follow: 'Look again',
    title: 'Off-boarding',
    lead:
      'Every few minutes, users who left the groups are blocked, and deleted after the grace period. ' +
      'Users that this service did not create are deleted once an admin confirms.',
    off: 'The cleanup is off. Set litellmOrchestrator.backstage.catalogToken.',
    dryRun: 'Show what would happen',
    running: 'A run is in progress.',
    /** @param {number} checked @param {number} total */
    progress: (checked, total) => `Checked ${checked} of ${total} users`,
    next: 'Next run',
    grace: 'Grace before deletion',
    noGrace: 'none',
    last: 'Last run',
    members: 'Members and admins',
    planTitle: 'The plan',
    nothing: 'Nobody would be removed.',
    columns: { user: 'User', action: 'What happens', reason: 'Why', since: 'Since', deletion: 'Deleted', keys: 'Keys' },
    actions: { block: 'Keys are blocked', hold: 'Waits', delete: 'Is deleted', restore: 'Gets the keys back' },
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
    actor: 'Who',
    target: 'Whose',
    action: 'What',
    any: 'anything',
    since: 'Since',
    until: 'Until',
    empty: 'Nothing matches.',
    columns: { at: 'When', actor: 'Who', action: 'What', target: 'Whose', outcome: 'Outcome', change: 'Change' },
    export: 'Download CSV',
    /** @param {number} count */
    exporting: count => `Reading… ${count}`,
    /** @param {number} most */
    exportedMost: most => `The file has the newest ${most} events only. Choose a shorter time for the others.`,
    outcomes: { done: 'Done', denied: 'Refused', failed: 'Failed', open: 'Not finished' },
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
