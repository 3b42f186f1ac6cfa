// The English sentences about devices that are signed in.

export const aboutDevices = {
  devices: {
    title: 'Devices',
    lead: 'Command lines that you signed in. Each has a key of hours, and renews it.',
    request: {
      title: 'Sign a device in',
      label: 'The code that the device shows',
      hint: 'Run litellm-key login there. Enter only a code that you asked for yourself.',
      look: 'Look it up',
      noCode: 'A code has eight letters, like WDJB-MJHT.',
      notFound: 'The code was not found',
      notApproved: 'The device was not signed in',
      notRefused: 'The request was not refused',
      device: 'Device',
      tool: 'Program',
      address: 'From',
      at: 'Asked',
      unnamed: 'did not say',
      unknown: 'not known',
      me: 'Me',
      old: 'This request is older than a minute. Is it really yours?',
      elsewhere: 'This request comes from another network than this page. Somebody else may have sent you the link.',
      owner: 'Whose keys it gets',
      ownerHint: 'Calls count against the budget of this owner.',
      life: 'Signed in for',
      lifeHint: 'From its last use on. You can sign it out at any time.',
      /** @param {string} code */
      sure: code => `I began this sign-in myself just now, and the device shows ${code}.`,
      approve: 'Sign the device in',
      refuse: 'Refuse',
      /** By the known states. @type {Record<string, string>} */
      states: { pending: 'Waits for you', approved: 'Approved', 'signed-in': 'Signed in', refused: 'Refused' },
      /** @type {Record<string, string>} */
      said: {
        approved: 'The device gets its key within seconds. Go on there; you can close this page.',
        'signed-in': 'The device is signed in.',
        refused: 'The device gets nothing.',
      },
    },
    list: {
      title: 'Signed-in devices',
      none: 'No device is signed in. Run litellm-key login on one.',
      device: 'Device',
      owner: 'Keys of',
      address: 'From',
      used: 'Last use',
      ends: 'Ends unless used',
      me: 'Me',
      action: 'Action',
      signOut: 'Sign out',
      /** @param {string} name */
      signOutOf: name => `Sign out ${name}`,
    },
    end: {
      /** @param {string} name */
      title: name => `Sign ${name} out`,
      /** @param {string} soon */
      lead: soon => `Its keys are deleted, and stop working ${soon}. To use it again, sign it in again.`,
      /** @param {string} name */
      button: name => `Sign ${name} out`,
      /** @param {string} name */
      undone: name => `${name} was not signed out`,
    },
  },
};
