// State that outlives a view: secrets, notices, the address and the session, each on its own.

import assert from 'node:assert/strict';
import { before, describe, test } from 'node:test';

/** What of a browser the stores use. */
const listeners = new Map();
globalThis.addEventListener = (name, listener) => listeners.set(name, listener);
globalThis.location = { hash: '' };

const secret = (keyId, alias = keyId) => ({ keyId, alias, secret: `sk-${keyId}`, userId: 'a', model: 'm' });

describe('secrets', () => {
  let secrets;
  before(async () => ({ secrets } = await import('../page/secrets.js')));

  test('are for whoever asked, newest first, once each, until they are acknowledged', () => {
    secrets.keep('a', secret('1'));
    secrets.keep('a', secret('2'));
    secrets.keep('b', secret('3'));
    secrets.keep('a', secret('2', 'again'));
    const of = asker => secrets.of(asker).map(one => one.alias);
    assert.deepEqual([of('a'), of('b'), of('c')], [['again', '1'], ['3'], []]);
    secrets.acknowledge('2');
    assert.deepEqual(of('a'), ['1']);
    secrets.forget('a');
    assert.deepEqual([of('a'), of('b')], [[], ['3']]);
  });

  test('ask before the page is closed, as long as there is one', () => {
    const asks = () => {
      let isAsked = false;
      listeners.get('beforeunload')({ preventDefault: () => (isAsked = true) });
      return isAsked;
    };
    assert.equal(asks(), true);
    secrets.forget('b');
    assert.equal(asks(), false);
  });

  test('tell whoever listens', () => {
    let count = 0;
    secrets.addEventListener('change', () => (count += 1));
    secrets.keep('a', secret('9'));
    secrets.acknowledge('9');
    assert.equal(count, 2);
  });
});

test('notices: one of a title, the newest last, until they are dismissed or somebody else is here', async () => {
  const { notices } = await import('../page/notices.js');
  const titles = () => notices.all.map(one => one.title);
  for (const title of ['one', 'two', 'one']) notices.add({ kind: 'bad', title });
  assert.deepEqual(titles(), ['two', 'one']);
  notices.dismiss(notices.all[0]);
  assert.deepEqual(titles(), ['one']);
  notices.clear();
  assert.deepEqual(titles(), []);
});

test('the address: a view, its owner, a user, a key of theirs, and the keys for whatever it is not', async () => {
  const { ownedHref, routeNow } = await import('../page/route.js');
  const at = hash => {
    location.hash = hash;
    return routeNow();
  };
  const spending = { name: 'spending', userId: '', keyId: '', owner: '', code: '' };
  assert.deepEqual(at('#/spending'), spending);
  const owner = 'component:default/checkout';
  assert.deepEqual(at(ownedHref('spending', owner)), { ...spending, owner });
  assert.deepEqual(at('#/keys/Component:default/Checkout'), { ...spending, name: 'keys', owner });
  assert.equal(at(`#/audit/${owner}`).owner, '');
  const jörg = { name: 'user', userId: 'user:default/jörg', keyId: '', owner: '', code: '' };
  assert.deepEqual(at('#/users/user:default/j%C3%B6rg'), jörg);
  assert.deepEqual(at('#/users/user:default/jörg/keys/a1'), { ...jörg, keyId: 'a1' });
  const device = { ...spending, name: 'devices', code: 'WDJB-MJHT' };
  assert.deepEqual(at('#/devices/WDJB-MJHT'), device);
  assert.deepEqual(at('#/devices'), { ...device, code: '' });
  for (const hash of ['', '#/', '#/nothing', '#/%E0%A4%A', '#/user']) assert.equal(at(hash).name, 'keys');
});

describe('the session', () => {
  const headers = { 'Content-Type': 'application/json' };
  const answer = (status, body) => new Response(JSON.stringify(body), { status, headers });
  /** Each token is its subject; `?` is refused. */
  globalThis.fetch = async (url, options = {}) => {
    if (!String(url).endsWith('/me')) throw new TypeError('nothing else is asked');
    const subject = new Headers(options.headers).get('Authorization').replace('Bearer ', '');
    return subject === '?' ? answer(401, {}) : answer(200, { subject: subject.split('/')[0], permissions: [] });
  };
  let session;
  before(async () => ({ session } = await import('../page/session.js')));

  test('has the same person with a renewed token, and another one with that of another', async () => {
    await session.signIn('alice');
    const { person } = session;
    await session.signIn('alice/2');
    assert.equal(session.person, person);
    assert.equal(session.token, 'alice/2');
    await session.signIn('bob');
    assert.equal(session.person.subject, 'bob');
    assert.notEqual(session.person, person);
  });

  test('has nobody by a token that is refused, and keeps who was there', async () => {
    await session.signIn('?');
    assert.equal(session.failure.status, 401);
    assert.equal(session.token, 'bob');
  });

  test('asks once for all who wait, and goes on with the new token', async () => {
    const waiting = [session.renew('bob'), session.renew('bob')];
    await new Promise(setImmediate);
    assert.equal(session.isAsking, true);
    await session.signIn('bob/2');
    await Promise.all(waiting);
    assert.deepEqual([session.isAsking, session.token], [false, 'bob/2']);
  });

  test('forgets the token when it ends', () => {
    session.signOut();
    assert.deepEqual([session.person, session.token], [null, '']);
  });
});
