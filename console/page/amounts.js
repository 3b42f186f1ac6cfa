// Numbers as people type them.

/**
 * A number with a point or a comma: 12,5 is 12.5, 1,000 and 1.000,50 are a thousand.
 *
 * @param {string} typed @returns {number | null} null if it is empty, NaN if it is no number of at least 0
 */
export function parsed(typed) {
  const digits = typed.replaceAll(/[\s$_]/g, '');
  if (digits === '') return null;
  const thousands = /^\d{1,3}(,\d{3})+(\.\d+)?$/.test(digits) ? ',' : /^\d{1,3}(\.\d{3})+,\d+$/.test(digits) ? '.' : '';
  const plain = (thousands ? digits.replaceAll(thousands, '') : digits).replace(',', '.');
  return /^\d*\.?\d+$|^\d+\.$/.test(plain) ? Number(plain) : NaN;
}

/** A number of a form; null if the field is empty. @param {FormData} form @param {string} name */
export const amount = (form, name) => parsed(String(form.get(name) ?? ''));

/** Whether all can be sent. @param {string[]} typed */
export const areNumbers = typed => typed.every(one => !Number.isNaN(parsed(one) ?? 0));
