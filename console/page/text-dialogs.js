// The English sentences of dialogs and their fields.

export const inDialogs = {
  fields: {
    alias: 'Alias',
    aliasHint: 'What you will recognise it by. No two keys of one owner may have the same.',
    maxBudget: 'Budget in USD',
    budgetDuration: 'Budget renews',
    /** @param {string} period as LiteLLM has it */
    every: period => `every ${period}`,
    noNumber: 'Not a number.',
    emptyIsNone: 'Empty means no limit.',
    expires: 'Expires',
    models: 'Models',
    modelsMissing:
      'The list of models is not available now. Without a choice, the key may call every model of the tier.',
    modelsHint: 'Leave empty to allow every model of the tier.',
    rpmLimit: 'Requests per minute',
    tpmLimit: 'Tokens per minute',
    never: 'never',
    /** @param {string} limit */
    atMost: limit => `At most ${limit}.`,
    /** @param {string} limit */
    atMostUntil: limit => `The tier allows at most ${limit}.`,
    periods: { '1d': 'daily', '7d': 'weekly', '1mo': 'monthly, on the 1st' },
    tooMuch: 'That is more than the tier allows.',
    tooMuchOfOwn: 'That is more than all keys of this user together may have.',
  },
  dialogs: {
    create: 'Create key',
    creating: 'Creating…',
    tooOften: 'Too many requests in a minute',
    tooManyKeys: 'Too many new keys in a minute',
    /** @param {number} seconds */
    tryingAgain: seconds => `Trying again in ${seconds} s.`,
    edit: 'Edit',
    /** @param {string} name */
    editTitle: name => `Edit ${name}`,
    block: 'Block',
    unblock: 'Unblock',
    rotate: 'Rotate (new secret, same limits)',
    /** @param {string} name */
    rotateTitle: name => `Rotate ${name}`,
    rotateLead: 'You get a new key with the same limits. Choose how long the old one goes on working.',
    overlap: 'Overlap',
    /** @param {string} soon */
    rotateTwice: soon => `This key has replaced another one, which still works. That older key stops working ${soon}.`,
    rotateBlocked: 'Rotate: the old key stays blocked',
    rotateBlockedLead: 'You get a new key with the same limits, which works.',
    rotateNow: 'Rotate: the old key stops now',
    /** @param {string} end */
    rotateUntil: end => `Rotate: the old key works until ${end}`,
    transfer: 'Transfer to another owner',
    /** @param {string} name */
    transferTitle: name => `Transfer ${name}`,
    transferLead:
      'The secret goes on working, and nothing has to be deployed. The key counts for its new owner from then on, ' +
      'within the limits of that one.',
    transferKnown: 'Those who received the secret still know it. Rotate the key to end that.',
    newOwner: 'New owner',
    newOwnerHint: 'A user, group or component, such as component:default/checkout.',
    myself: 'me',
    /** @param {string} name */
    transferTo: name => `Transfer to ${name}`,
    versions: 'Versions',
    remove: 'Delete',
    /** @param {string} name */
    removeTitle: name => `Delete ${name}`,
    /** @param {string} soon */
    removeLead: soon => `Whatever uses this key stops working ${soon}. This cannot be undone.`,
    replacedTitle: 'The key that it replaced still works',
    replacedKeep: 'Keep it: it goes on working, without an end',
    /** @param {string} soon */
    replacedDelete: soon => `Delete it, too: it stops working ${soon}`,
    /** @param {string} word */
    typeToConfirm: word => `Type ${word} to confirm`,
    /** @param {string} name */
    removeButton: name => `Delete ${name} for good`,
    reportTitle: 'Report a leaked key',
    /** @param {string} soon */
    reportLead: soon =>
      'Paste the key that you found. If it is one of this company’s, it stops working ' +
      `${soon} and for good, also if it is not yours.`,
    reportLabel: 'Leaked key',
    reportButton: 'Block this key for good',
    reported: 'Blocked, if it is one of ours. Create a new key for whatever used it.',
    conflictTitle: 'It was changed meanwhile, in another tab or by somebody else',
    conflictLead: 'Both of you changed this. Nothing was saved yet; what only you changed is kept either way.',
    conflictBefore: 'Before',
    conflictTheirs: 'Now',
    conflictYours: 'Yours',
    overwrite: 'Use mine',
    keepTheirs: 'Keep theirs',
  },
  versions: {
    /** @param {string} name */
    title: name => `Versions of ${name}`,
    lead: 'Each rotation makes a new version of the key.',
    columns: { version: 'Version', status: 'Status', created: 'Created', end: 'End', used: 'Last use' },
    /** @param {number} number */
    version: number => `Version ${number}`,
    /** By the known values of `status`. @type {Record<string, string>} */
    status: { active: 'Active', blocked: 'Blocked', expired: 'Expired', deleted: 'Deleted' },
    created: 'created',
    byNobodyKnown: 'not known by whom',
    unrecorded: 'Older than the audit log, or made elsewhere.',
    used: 'used',
    /** @param {string} time */
    ended: time => `revoked ${time}`,
    /** @param {string} time */
    ends: time => `is revoked ${time}`,
    endUnknown: 'not known when',
    /** @param {number} count */
    unknown: count =>
      count === 1
        ? 'There was one more version, of which nothing is known.'
        : `There were ${count} more versions, of which nothing is known.`,
  },
};
