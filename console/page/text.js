// Every English sentence of the console.

/** @param {number} count @param {string} one @param {string} many */
const plural = (count, one, many) => `${count} ${count === 1 ? one : many}`;

export const text = {
  name: 'LiteLLM console',
  times: {
    never: 'never',
    /** @param {number} count */
    minutes: count => `${count} min`,
    /** @param {number} count */
    hours: count => `${count} h`,
    /** @param {number} count */
    days: count => plural(count, 'day', 'days'),
  },
  nav: { keys: 'Keys', spending: 'Spending', admin: 'Admin', users: 'Users', cleanup: 'Off-boarding', audit: 'Audit log', health: 'Health', label: 'Sections' },
  theme: { dark: 'Dark', light: 'Light', toggle: 'Switch between light and dark' },
  skip: 'Skip to content',
  copy: 'Copy',
  copied: 'Copied',
  copyId: 'Copy request id',
  /** @param {string} keys */
  notCopied: keys => `Not copied. It is selected: press ${keys}.`,
  cancel: 'Cancel',
  tooLate: 'It is being done: too late to cancel.',
  close: 'Close',
  save: 'Save',
  retry: 'Try again',
  more: 'Show more',
  none: 'none',
  requestId: 'Request id',
  offline: 'You are offline. What you see may be old; changes are not possible until you are back.',
  signOut: 'Sign out',
  admin: 'admin',
  signIn: {
    title: 'Sign in',
    standalone: 'This is a demonstration on stand-ins. Choose who you are.',
    token: 'Paste a Backstage token. It stays in this page’s memory.',
    label: 'Backstage token',
    submit: 'Sign in',
    expired: 'Your session has expired. Sign in again; nothing that you typed is lost.',
    roles: { member: 'a member: creates keys', admin: 'an admin: looks after everybody', none: 'in no group: is refused' },
    refused: 'This token was not accepted. Copy a new one.',
    outsider: 'You are not in a group that may use models.',
    /** @param {string | null} contact */
    ask: contact => (contact ? `Ask ${contact} for access.` : 'Ask your platform team for access.'),
  },
  errors: {
    title: 'This did not work',
    /** @param {number} status */
    status: status => `The service answered with status ${status}.`,
    unreachable: 'The service cannot be reached. Try again in a moment.',
    offline: 'You are offline.',
    cancelled: 'This was cancelled.',
    ended: 'Your session ended before this was answered.',
  },
  keys: {
    title: 'Keys',
    lead: 'Keys call models through LiteLLM and spend your budget.',
    /** @param {string} name */
    leadOf: name => `The keys of ${name}.`,
    create: 'Create key',
    report: 'Report a leaked key',
    filter: 'Filter by alias or model',
    noMatch: 'No key matches.',
    empty: 'No keys yet. A key lets your code call models.',
    /** @param {number | null} calls @param {number | null} tokens */
    rates: (calls, tokens) => [calls === null ? '' : plural(calls, 'call', 'calls'), tokens === null ? '' : plural(tokens, 'token', 'tokens')].filter(Boolean).join(', ') || '–',
    columns: { key: 'Key', status: 'Status', models: 'Models', spend: 'Spend', budget: 'Budget', rates: 'Rates per minute', used: 'Last use', expires: 'Expires' },
    unnamed: 'unnamed',
    allModels: 'all of the tier',
    status: { active: 'Active', blocked: 'Blocked', expired: 'Expired', all: 'all' },
    statusFilter: 'Status',
    /** @param {string} end */
    ends: end => `Ends ${end}`,
    /** @param {string} rest */
    endsIn: rest => `Ends in ${rest}`,
    /** @param {string} name */
    actions: name => `Actions for ${name}`,
    /** @param {number} count @param {number} limit */
    full: (count, limit) => `You have ${count} of ${limit} keys. Delete one first.`,
    tiles: { spent: 'Spent', of: 'of', unlimited: 'no limit', resets: 'Budget resets', keys: 'Keys', noReset: 'never', tier: 'tier' },
  },
  secret: {
    /** @param {string} alias @param {string} of whose key it is, unless it is one's own */
    title: (alias, of) => `${of ? 'The' : 'Your'} new key${alias ? ` “${alias}”` : ''}${of ? ` of ${of}` : ''}`,
    lead: 'Copy it now. It is shown until you say that you saved it, and never again; if you lose it, rotate the key.',
    done: 'Done – I saved the key',
    copyKey: 'Copy key',
    copyCode: 'Copy code',
    /** @param {string[]} aliases */
    leaveTitle: aliases => `Sign out without ${aliases.map(alias => `“${alias}”`).join(', ')}?`,
    /** @param {number} count */
    leaveLead: count => `You have not said that you saved ${count === 1 ? 'the secret of this key. It is' : 'the secrets of these keys. They are'} lost when you sign out, and can only be replaced by a rotation.`,
    leave: 'Sign out and lose it',
    snippets: 'How to use it',
    where: 'Ask your platform team for the address of LiteLLM.',
  },
  fields: {
    alias: 'Alias',
    aliasHint: 'What you will recognise it by. Unique among your keys.',
    maxBudget: 'Budget in USD',
    budgetDuration: 'Budget resets every',
    expires: 'Expires',
    models: 'Models',
    modelsHint: 'None chosen means all that your tier has.',
    rpmLimit: 'Requests per minute',
    tpmLimit: 'Tokens per minute',
    never: 'never',
    /** @param {string} limit */
    atMost: limit => `At most ${limit}.`,
    /** @param {string} limit */
    atMostUntil: limit => `Your tier allows at most ${limit}.`,
    periods: { '1d': 'day', '7d': 'week', '30d': '30 days', '1mo': 'month' },
    tooMuch: 'That is more than the tier allows.',
  },
  dialogs: {
    create: 'Create key',
    creating: 'Creating…',
    edit: 'Edit',
    /** @param {string} name */
    editTitle: name => `Edit ${name}`,
    block: 'Block',
    unblock: 'Unblock',
    rotate: 'Rotate',
    /** @param {string} name */
    rotateTitle: name => `Rotate ${name}`,
    rotateLead: 'You get a new key with the same limits. Choose how long the old one goes on working.',
    overlap: 'Overlap',
    rotateNow: 'Rotate: the old key stops now',
    /** @param {string} end */
    rotateUntil: end => `Rotate: the old key works until ${end}`,
    remove: 'Delete',
    /** @param {string} name */
    removeTitle: name => `Delete ${name}`,
    removeLead: 'Whatever uses this key stops working at once. This cannot be undone.',
    /** @param {string} word */
    typeToConfirm: word => `Type ${word} to confirm`,
    /** @param {string} name */
    removeButton: name => `Delete ${name} for good`,
    reportTitle: 'Report a leaked key',
    reportLead: 'Paste the key that you found. If it is one of this company’s, it is blocked at once and for good, also if it is not yours.',
    reportLabel: 'Leaked key',
    reportButton: 'Block this key for good',
    reported: 'Thank you. If the key is known here, it is blocked now.',
    conflictTitle: 'Somebody else changed it meanwhile',
    conflictLead: 'Nothing was changed. Compare, and decide.',
    conflictTheirs: 'Now',
    conflictYours: 'Yours',
    overwrite: 'Use mine',
    keepTheirs: 'Keep theirs',
  },
  spending: {
    title: 'Spending',
    lead: 'New calls appear after about a minute.',
    by: 'Show by',
    groups: { day: 'Day', model: 'Model', key: 'Key' },
    chart: 'Spend by day in USD',
    empty: 'Nothing spent in this time. Use a key, and look again in a minute.',
    export: 'Download CSV',
    columns: { spend: 'Spend', requests: 'Calls', failed: 'Failed', tokens: 'Tokens' },
    tiles: { spent: 'Spent', remaining: 'Remaining', resets: 'Resets' },
    /** @param {number} days */
    total: days => `In these ${days} days`,
    /** @param {number} days */
    lastDays: days => `Last ${days} days`,
    rest: 'other',
    period: 'Period',
  },
  users: {
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
    resetLead: spend => `The ${spend} of this period become $0.00, so the whole budget can be spent again. Reports keep what was spent.`,
    offboard: 'Off-board',
    /** @param {string} name */
    offboardTitle: name => `Off-board ${name}`,
    /** @param {number} keys @param {string} spend */
    offboardLead: (keys, spend) =>
      `${plural(keys, 'key stops', 'keys stop')} working at once and ${keys === 1 ? 'is' : 'are'} deleted with the user, whose spend of ${spend} is no longer shown here. Spending stays in LiteLLM’s reports and the audit log. While they are in an allowed group, their next request creates them anew.`,
    /** @param {string} name */
    offboardButton: name => `Off-board ${name} for good`,
  },
  cleanup: {
    title: 'Off-boarding',
    lead: 'Every few minutes, users who left the groups are blocked, and deleted after the grace period.',
    off: 'The cleanup is off. Set litellmOrchestrator.backstage.catalogToken.',
    dryRun: 'Show what would happen',
    running: 'A run is in progress.',
    /** @param {number} checked @param {number} total */
    progress: (checked, total) => `Checked ${checked} of ${total} users`,
    next: 'Next run',
    last: 'Last run',
    members: 'Members and admins',
    planTitle: 'The plan',
    nothing: 'Nobody would be removed.',
    columns: { user: 'User', action: 'What happens', reason: 'Why', since: 'Since', deletion: 'Deleted', keys: 'Keys' },
    actions: { block: 'Keys are blocked', hold: 'Waits', delete: 'Is deleted', restore: 'Gets the keys back' },
    now: 'now',
    /** @param {string} time */
    after: time => `after ${time}`,
    nextRun: 'in the next run',
    outcomes: { running: 'Running', planned: 'Planned', done: 'Done', refused: 'Refused', failed: 'Failed' },
    /** @param {number} count */
    apply: count => `Carry out this plan for ${plural(count, 'user', 'users')}`,
    none: 'no run yet',
  },
  audit: {
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
      litellm: 'No user or key can be read or changed.',
      backstage: 'Nobody new can sign in.',
      database: 'Nothing can be changed; reading works.',
    },
  },
  shortcuts: {
    title: 'Shortcuts',
    rows: [['/', 'Filter'], ['c', 'Create a key'], ['g k', 'Keys'], ['g s', 'Spending'], ['?', 'This list'], ['Escape', 'Close']],
  },
};
