// The secrets of new keys that nobody has acknowledged yet. They are in memory only, and outlive every view.

/**
 * A key of `userId`.
 *
 * @typedef {{keyId: string, secret: string, alias: string, userId: string, model: string}} Secret
 */

class Secrets extends EventTarget {
  /** @type {(Secret & {asker: string})[]} newest first */ #kept = [];

  /** Those that `asker` asked for, newest first: nobody else may see them. @param {string} asker @returns {Secret[]} */
  of(asker) {
    return this.#kept.filter(one => one.asker === asker);
  }

  get areKept() {
    return this.#kept.length > 0;
  }

  /** @param {string} asker @param {Secret} secret */
  keep(asker, secret) {
    // The second answer to one request is the same key.
    this.#kept = [{ ...secret, asker }, ...this.#kept.filter(one => one.keyId !== secret.keyId)];
    this.#changed();
  }

  /** @param {string} keyId */
  acknowledge(keyId) {
    this.#kept = this.#kept.filter(one => one.keyId !== keyId);
    this.#changed();
  }

  /** @param {string} asker */
  forget(asker) {
    this.#kept = this.#kept.filter(one => one.asker !== asker);
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

export const secrets = new Secrets();

// A page that is closed has forgotten them.
addEventListener('beforeunload', event => {
  if (secrets.areKept) event.preventDefault();
});
