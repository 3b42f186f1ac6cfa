// Which view the address names.

export const FOR_ALL = /** @type {const} */ (['keys', 'spending']);
/** What a view needs that shows more than one's own. @type {Record<string, string>} */
export const NEEDS = {
  users: 'users.read',
  user: 'users.read',
  cleanup: 'cleanup.read',
  audit: 'audit.read',
  health: 'cleanup.read',
};
export const FOR_SOME = /** @type {const} */ (['users', 'cleanup', 'audit', 'health']);

/** The route in the address, such as #/users/user:default/alice, or that with /keys/ and the id of a key. */
export function routeNow() {
  const [, name = '', ...rest] = decoded(location.hash).split('/');
  if (name === 'users' && rest.length)
    return { name: 'user', userId: rest.slice(0, 2).join('/'), keyId: rest[3] ?? '' };
  return { name: [...FOR_ALL, ...FOR_SOME].some(known => known === name) ? name : 'keys', userId: '', keyId: '' };
}

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
