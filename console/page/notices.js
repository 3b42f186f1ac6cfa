// What happened, for whoever did it: it stands at the bottom of the window, wherever the page is scrolled to.

/**
 * @typedef {object} Notice
 * @property {'bad' | 'good'} kind
 * @property {string} title a sentence
 * @property {any} [failure] the ApiError behind it
 * @property {{label: string, act: () => void} | null} [again] does what failed once more
 */

class Notices extends EventTarget {
  /** @type {Notice[]} */ all = [];

  /** @param {Notice} notice */
  add(notice) {
    this.all = [...this.all.filter(one => one.title !== notice.title), notice];
    this.#changed();
  }

  /** @param {Notice} notice */
  dismiss(notice) {
    this.all = this.all.filter(one => one !== notice);
    this.#changed();
  }

  /** Somebody else is here. */
  clear() {
    this.all = [];
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }
}

export const notices = new Notices();
