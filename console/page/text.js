// Every English sentence of the console; those of dialogs and of the views for admins have files of
// their own.

import { forAdmins, plural } from './text-admin.js';
import { aboutDevices } from './text-devices.js';
import { inDialogs } from './text-dialogs.js';

const compact = new Intl.NumberFormat('en-US', { notation: 'compact', maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat('en-US');
/** @param {number} value */
const short = value => (value > 1_000_000 ? compact : whole).format(value);

/** @param {string | null} end */
const callsFail = end => `Calls fail ${end ? `until ${end}` : 'until it is raised'}.`;

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
    /** @param {number} seconds */
    within: seconds => (seconds ? `within ${seconds} s` : 'at once'),
  },
  nav: {
    keys: 'Keys',
    spending: 'Spending',
    devices: 'Devices',
    admin: 'Admin',
    users: 'Users',
    workloads: 'Workloads',
    cleanup: 'Off-boarding',
    audit: 'Audit log',
    health: 'Health',
    label: 'Sections',
  },
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
  dismiss: 'Dismiss',
  notices: 'Notices',
  more: 'Show more',
  status: 'Status',
  anyStatus: 'Any status',
  none: 'none',
  yes: 'yes',
  no: 'no',
  requestId: 'Request id',
  offline: 'You are offline. What you see may be old; changes are not possible until you are back.',
  signOut: 'Sign out',
  admin: 'admin',
  auditor: 'auditor',
  onlyAdmins: 'Only admins see this.',
  toKeys: 'To your keys',
  signIn: {
    title: 'Sign in',
    standalone: 'This is a demonstration on stand-ins. Choose who you are.',
    token:
      'It is in the Authorization header of the requests of Backstage’s pages, after “Bearer”. It stays in this ' +
      'page’s memory.',
    label: 'Backstage token',
    submit: 'Sign in',
    expired: 'Your session has expired. Sign in again; nothing that you typed is lost.',
    roles: {
      member: 'member · creates keys',
      admin: 'admin · manages all users',
      auditor: 'auditor · reads everything',
      none: 'no access',
    },
    refused: 'This token was not accepted. Copy a new one.',
    failed: 'You could not be signed in',
    outsider: 'You are not in a group that may use models.',
    /** @param {string | null} contact */
    ask: contact => (contact ? `Ask ${contact} for access.` : 'Ask your platform team for access.'),
  },
  errors: {
    /** @param {number} status */
    status: status => `The service answered with status ${status}.`,
    unreachable: 'The service cannot be reached. Try again in a moment.',
    offline: 'You are offline.',
    /** @param {number} seconds */
    tooOften: seconds => `Too many requests in a minute. Try again in ${seconds} s.`,
    ended: 'Nobody waits for this answer any more.',
    /** @param {string} what */
    notLoaded: what => `${what} could not be loaded`,
    moreNotLoaded: 'The next rows were not loaded',
    module: 'This page could not be loaded. It may have been updated',
    reload: 'Reload',
  },
  keys: {
    /** @param {string} name */
    notBlocked: name => `“${name}” was not blocked`,
    blockAgain: 'Block again',
    /** @param {string} name @param {string} soon */
    isBlocked: (name, soon) => `“${name}” stops working ${soon}.`,
    /** @param {string} name */
    notUnblocked: name => `“${name}” was not unblocked`,
    unblockAgain: 'Unblock again',
    /** @param {string} name */
    notRead: name => `“${name}” could not be read`,
    editAgain: 'Edit again',
    /** @param {string} name */
    notChanged: name => `“${name}” was not changed`,
    /** @param {string} name */
    notRotated: name => `“${name}” was not rotated`,
    /** @param {string} name */
    notDeleted: name => `“${name}” was not deleted`,
    /** @param {string} name */
    alreadyDeleted: name => `“${name}” was already deleted`,
    /** @param {string} name */
    gone: name => `“${name}” was deleted meanwhile`,
    isMissing: 'The key that the link is about is not here any more: it was deleted, or replaced by a rotation.',
    notCreated: 'The key was not created',
    notReported: 'The key was not reported',
    title: 'Keys',
    lead: 'Keys call models through LiteLLM and spend your budget.',
    /** @param {string} name */
    leadOf: name => `The keys of ${name}, and the budget that they spend.`,
    create: 'Create key',
    report: 'Report a leaked key',
    filter: 'Filter by alias or model',
    noMatch: 'No key matches.',
    empty: 'No keys yet. A key lets your code call models.',
    /** @param {string} name @param {string} limits */
    emptyOf: (name, limits) => `${name} has no keys yet. With the first one it gets its limits: ${limits}.`,
    /** @param {string} name */
    notTransferred: name => `“${name}” was not transferred`,
    /** @param {string} name @param {string} owner */
    isTransferred: (name, owner) => `“${name}” belongs to ${owner} now`,
    /** @param {number | null} calls @param {number | null} tokens */
    rates: (calls, tokens) =>
      [calls === null ? '' : `${short(calls)} requests/min`, tokens === null ? '' : `${short(tokens)} tokens/min`]
        .filter(Boolean)
        .join(' · ') || '–',
    columns: {
      key: 'Key',
      status: 'Status',
      models: 'Models',
      spend: 'Spend',
      budget: 'Budget',
      rates: 'Rates',
      used: 'Last use',
      expires: 'Expires',
    },
    unnamed: 'unnamed',
    session: 'sign-in to LiteLLM',
    /** @param {string} rule */
    workload: rule => `Workload ${rule}`,
    /** @param {string} name */
    device: name => `Device ${name}`,
    /** @param {string} device @param {string} person */
    deviceOf: (device, person) => `${device} of ${person}`,
    /** @param {number} count @param {number} active */
    short: (count, active) => `${plural(count, 'key', 'keys')} of minutes, ${active} active`,
    isShort: 'Short',
    shortHint: 'It ends by itself, and can be blocked or deleted only.',
    allModels: 'All models',
    /** @param {number} count */
    models: count => plural(count, 'model', 'models'),
    used: 'used',
    end: 'ends',
    status: { active: 'Active', overBudget: 'Over budget', blocked: 'Blocked', expired: 'Expired' },
    odd: 'Unclear',
    oddHint: 'What LiteLLM has of this key makes no sense. An admin of LiteLLM has to correct it.',
    ownerOver: 'The budget of its owner is used up.',
    /** By the known values of `blockedBy`. @type {Record<string, string>} */
    blockedBy: { admin: 'Blocked by an admin', report: 'Reported as leaked', offboarding: 'Blocked: leaving' },
    /** @param {string} time */
    blockedAt: time => `since ${time}`,
    /** @param {string} end */
    ends: end => `Ends ${end}`,
    /** @param {string} rest */
    endsIn: rest => `Ends in ${rest}`,
    /** @param {string} name */
    actions: name => `Actions for ${name}`,
    /** @param {string} whose '' is the reader @param {number} count @param {number} limit */
    full: (whose, count, limit) =>
      `${whose ? `${whose} has` : 'You have'} ${count} of ${limit} keys. Delete one first.`,
    tiles: {
      of: 'of',
      unlimited: 'no limit',
      resets: 'Budget renews',
      keys: 'Keys',
      noReset: 'never',
      firstKey: 'once it has a key',
      tier: 'tier',
      missing: 'not available',
    },
  },
  budget: {
    spent: 'Spent',
    spentEver: 'Spent so far',
    /** @param {string} start */
    spentSince: start => `Spent since ${start}`,
    /** @param {string} budget @param {string | null} end @param {string | null} contact */
    usedUp: (budget, end, contact) =>
      `Your budget of ${budget} is used up. ${callsFail(end)} Ask ${contact ?? 'your platform team'} for more.`,
    /** @param {string} whose @param {string} budget @param {string | null} end */
    usedUpOf: (whose, budget, end) => `The budget of ${whose} of ${budget} is used up. ${callsFail(end)}`,
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
    leaveLead: count =>
      (count === 1
        ? 'You have not said that you saved the secret of this key. It is'
        : 'You have not said that you saved the secrets of these keys. They are') +
      ' lost when you sign out, and can only be replaced by a rotation.',
    leave: 'Sign out and lose it',
    snippets: 'How to use it',
    where: 'Ask your platform team for the address of LiteLLM.',
  },
  owners: {
    label: 'Owner',
    me: 'Me',
    groups: { group: 'Groups', component: 'Components' },
    /** By the kind of the ref. @type {Record<string, string>} */
    kinds: { user: 'User', group: 'Group', component: 'Component' },
    notLoaded: 'Your groups and components could not be loaded',
  },
  ...inDialogs,
  spending: {
    title: 'Spending',
    lead: 'Days are UTC. New calls appear after about a minute.',
    /** @param {string} name */
    leadOf: name => `What the keys of ${name} spent. Days are UTC. New calls appear after about a minute.`,
    by: 'Show by',
    groups: { day: 'Day', model: 'Model', key: 'Key' },
    chart: 'Spend by day in USD',
    empty: 'Nothing spent in this time. Use a key, and look again in a minute.',
    export: 'Download CSV',
    columns: { spend: 'Spend', requests: 'Calls', failed: 'Failed', tokens: 'Tokens' },
    tiles: { remaining: 'Remaining', resets: 'Renews' },
    /** @param {number} days */
    total: days => `Last ${days} days (UTC)`,
    /** @param {number} days */
    lastDays: days => `Last ${days} days`,
    rest: 'other',
    dayColumn: 'Day (UTC)',
    /** @param {string} group @param {number} days */
    notLoaded: (group, days) => `The last ${days} days by ${group.toLowerCase()} could not be loaded`,
    period: 'Period',
  },
  ...aboutDevices,
  ...forAdmins,
  shortcuts: {
    title: 'Shortcuts',
    rows: [
      ['/', 'Filter'],
      ['c', 'Create a key'],
      ['g k', 'Keys'],
      ['g s', 'Spending'],
      ['?', 'This list'],
      ['Escape', 'Close'],
    ],
  },
};
