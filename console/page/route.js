// Which view the address names.

export const FOR_ALL = /** @type {const} */ (['keys', 'spending']);
/** What is one's own, whoever's keys are shown. */
export const FOR_ONESELF = /** @type {const} */ (['devices']);
/** What a view needs that shows more than one's own. @type {Record<string, string>} */
export const NEEDS = {
  users: 'users.read',
  user: 'users.read',
  cleanup: 'cleanup.read',
  audit: 'audit.read',
  workloads: 'workloads.read',
  health: 'cleanup.read',
};
export const FOR_SOME = /** @type {const} */ (['users', 'workloads', 'cleanup', 'audit', 'health']);

/**
 * The route in the address, such as #/users/user:default/alice, or that with /keys/ and the id of a key; or
 * #/keys/component:default/checkout, whose `owner` is '' for the person who is signed in; or #/devices/WDJB-MJHT.
 */
export function routeNow() {
  const [, name = '', ...rest] = decoded(location.hash).split('/');
  if (name === 'users' && rest.length)
    return { name: 'user', userId: rest.slice(0, 2).join('/'), keyId: rest[3] ?? '', owner: '', code: '' };
  if (name === 'devices') return { name, userId: '', keyId: '', owner: '', code: rest[0] ?? '' };
  const known = [...FOR_ALL, ...FOR_SOME].some(one => one === name) ? name : 'keys';
  const owner = isOwned(known) ? rest.slice(0, 2).join('/').toLowerCase() : '';
  return { name: known, userId: '', keyId: '', owner, code: '' };
}

/** Whether a view shows what belongs to one owner. @param {string} name */
export const isOwned = name => FOR_ALL.some(one => one === name);

/** The address of a view; without an owner, that of the person who is signed in. @param {string} name */
export const ownedHref = (name, owner = '') => `#/${name}${owner && `/${encodeURI(owner)}`}`;

/** The address of a user's page, or of one of their keys on it. @param {string} userId @param {string} keyId */
export const hrefOf = (userId, keyId = '') => `#/users/${encodeURI(userId)}${keyId && `/keys/${keyId}`}`;

/** @param {string} hash which may be anything that somebody sent as a link */
function decoded(hash) {
  try {
    return decodeURI(hash);
  } catch {
    return '';
  }
}
