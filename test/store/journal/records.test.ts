import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { factKinds } from '../../../src/model/fact.js';
import {
  cutIntoBlocks,
  DamagedError,
  decodeBlock,
  encodeBlock,
  maxBlockBytes,
  maxBlockCount,
  countEntryBytes,
  type Entry,
} from '../../../src/store/journal/block.js';
import {
  decodeDeadLetter,
  encodeDeadLetter,
} from '../../../src/store/journal/dead-letter-codec.js';
import {
  fromStoredStates,
  remainingMs,
  toStoredStates,
  type EnvelopeState,
  type RetryState,
} from '../../../src/store/journal/envelope-state.js';
import {
  decodeFact,
  decodeLegacyFact,
  decodePlace,
  encodeFact,
  encodePlace,
  toFactTableKey,
} from '../../../src/store/journal/fact.js';
import { encodeLegacyFact } from './legacy-fact.js';

const key = fc.string({ unit: fc.constantFrom('a', 'z', 'A', '0', '-', '_'), maxLength: 30 });
const entry: fc.Arbitrary<Entry> = fc.record({
  seq: fc.integer({ min: 1, max: 2 ** 48 - 1 }),
  acceptedAt: fc.integer({ min: 0, max: 2 ** 47 }),
  keys: fc.array(key, { maxLength: 3 }),
  payload: fc.uint8Array({ maxLength: 300 }),
});

const plain = (entries: readonly Entry[]) =>
  entries.map((one) => ({ ...one, payload: [...one.payload] }));

describe('a block', () => {
  it('is read as it was written', () => {
    fc.assert(
      fc.property(fc.array(entry), (entries) => {
        const block = encodeBlock(entries);
        expect(plain(decodeBlock(block, 'it'))).toEqual(plain(entries));
      }),
    );
  });

  it('with a changed byte or a missing end is rejected', () => {
    const blocks = fc.array(entry, { minLength: 1, maxLength: 4 }).map(encodeBlock);
    fc.assert(
      fc.property(blocks, fc.nat(), fc.integer({ min: 1, max: 255 }), (block, at, by) => {
        const changed = Buffer.from(block);
        const index = at % changed.byteLength;
        changed[index] = (changed[index]! + by) % 256;
        expect(() => decodeBlock(changed, 'it')).toThrow(DamagedError);
        expect(() => decodeBlock(block.subarray(0, index), 'it')).toThrow(DamagedError);
      }),
    );
  });

  it('is split by bytes and by count without losing entries', () => {
    const many = Array.from({ length: 3000 }, (_, seq) => ({
      seq,
      acceptedAt: 0,
      keys: ['ea'],
      payload: new Uint8Array(seq % 700),
    }));
    const blocks = cutIntoBlocks(many);
    const entries = blocks.flat();
    expect(entries).toHaveLength(3000);
    expect(entries.findIndex((each, index) => each !== many[index])).toBe(-1);
    for (const block of blocks) {
      expect(block.length).toBeLessThanOrEqual(maxBlockCount);
      expect(block.reduce((sum, one) => sum + countEntryBytes(one), 0)).toBeLessThanOrEqual(
        maxBlockBytes,
      );
    }
    const huge = { ...many[0]!, payload: new Uint8Array(maxBlockBytes) };
    expect(cutIntoBlocks([huge, huge]).map(({ length }) => length)).toEqual([1, 1]);
    expect(cutIntoBlocks([])).toEqual([]);
  });
});

describe('the blocks of a lane', () => {
  const withBytes = (bytes: number, seq: number): Entry => ({
    seq,
    acceptedAt: 0,
    keys: [],
    payload: new Uint8Array(bytes - 17),
  });

  it('hold 256 KiB at most', () => {
    const many = Array.from({ length: 9 }, (_, seq) => withBytes(64 * 1024, seq));
    expect(cutIntoBlocks(many).map(({ length }) => length)).toEqual([4, 4, 1]);
  });

  it('hold 1024 envelopes at most', () => {
    const many = Array.from({ length: 2049 }, (_, seq) => withBytes(17, seq));
    expect(cutIntoBlocks(many).map(({ length }) => length)).toEqual([1024, 1024, 1]);
  });
});

describe('the stored form of format 1', () => {
  it('of a block is the one that earlier versions wrote', () => {
    const one = {
      seq: 0x010203,
      acceptedAt: 0x0405,
      keys: ['ea', 'p'],
      payload: Buffer.from('{}'),
    };
    const stored = Buffer.from(
      '013786066501000000030201000000050400000000020200000002656101707b7d',
      'hex',
    );
    expect(encodeBlock([one]).toString('hex')).toBe(stored.toString('hex'));
    expect(plain(decodeBlock(stored, 'it'))).toEqual(plain([one]));
  });

  it('of a dead letter is the one that earlier versions wrote', () => {
    const stored = Buffer.concat([
      Buffer.from('930c04959a000000', 'hex'),
      Buffer.from(
        '{"id":"ev_abcdef_1","lane":"events","seq":1,"keys":["ea"],"acceptedAt":1,"attempts":3,"reason":{"code":"bad","detail":"b"},"deliveryId":null,"buriedAt":2}',
      ),
      Buffer.from('{}'),
    ]);
    const one = {
      id: 'ev_abcdef_1',
      lane: 'events',
      seq: 1,
      keys: ['ea'],
      acceptedAt: 1,
      deadLetteredAt: 2,
      attempts: 3,
      reason: { code: 'bad', detail: 'b' },
      deliveryId: null,
      payload: Buffer.from('{}'),
    } as const;
    const read = decodeDeadLetter(stored, 'it');
    expect({ ...read, payload: Buffer.from(read.payload).toString() }).toEqual({
      ...one,
      payload: '{}',
    });
  });

  it('of a fact and of its place is the one that earlier versions wrote', () => {
    const key = Buffer.from('a');
    const fact = { kind: 'payment', order: 0x0102, at: 0x0304, value: 'v' } as const;
    const stored = Buffer.from('d1223cfd0202010000000004030000000076', 'hex');
    expect(encodeFact(key, fact).toString('hex')).toBe(stored.toString('hex'));
    expect(decodeFact(key, stored, 'it')).toEqual(fact);
    expect(encodePlace({ key, at: 0x0304 }).toString('hex')).toBe('04030000000061');
  });

  it.each([
    [0, 'delivery'],
    [1, 'order'],
    [2, 'payment'],
    [3, 'charge'],
    [4, 'customer'],
    [5, 'user'],
    [6, 'device'],
    [7, 'other'],
    [8, 'consent'],
  ] as const)('of a fact has the number %d for the kind %s', (number, kind) => {
    const bytes = encodeFact(Buffer.from('a'), { kind, order: 1, at: 1, value: '' });
    expect(bytes.readUInt8(4)).toBe(number);
  });
});

const aTrial = (attempts: number): RetryState => ({
  attempts,
  alone: false,
  dueAt: 1000,
  delayMs: 500,
  lastTry: null,
  ref: null,
});

describe('envelope states', () => {
  it('are read from JSON as they were written', () => {
    const trials = [aTrial(1), aTrial(2), aTrial(3)];
    const mark = fc.constantFrom<EnvelopeState>(null, 'settled', ...trials);
    fc.assert(
      fc.property(fc.array(mark), (marks) => {
        const stored: unknown = JSON.parse(JSON.stringify(toStoredStates(marks)));
        expect(fromStoredStates(stored as ReturnType<typeof toStoredStates>)).toEqual(marks);
      }),
    );
  });

  it('that are equal for many envelopes are stored as one run', () => {
    const trial = aTrial(1);
    const marks = [
      ...Array<EnvelopeState>(500).fill('settled'),
      ...Array<EnvelopeState>(500).fill(trial),
      null,
    ];
    expect(toStoredStates(marks)).toEqual({
      runs: [
        [500, 1],
        [500, 2],
        [1, 0],
      ],
      trials: [trial],
    });
  });
});

describe('a retry that is read back', () => {
  it.each([
    ['waits for the rest of its time', 700, 300],
    ['is due once its time has come', 1000, 0],
    ['is due where the clock was set ahead', 99_999, 0],
    ['waits no longer than it was to where the clock was set back', -99_999, 500],
  ])('%s', (_name, now, expected) => {
    expect(remainingMs(aTrial(1), now)).toBe(expected);
  });
});

describe('a dead letter', () => {
  const deadLetter = {
    id: 'ev_abcdef_1',
    lane: 'events',
    seq: 1,
    keys: ['ea'],
    acceptedAt: 1,
    deadLetteredAt: 2,
    attempts: 3,
    reason: { code: 'bad', detail: 'né 😀', faults: [{ pointer: '/a', detail: 'b' }] },
    deliveryId: null,
    payload: new TextEncoder().encode('{"é":"😀"}'),
  } as const;

  it('is read as it was written', () => {
    const read = decodeDeadLetter(encodeDeadLetter(deadLetter), 'it');
    expect({ ...read, payload: [...read.payload] }).toEqual({
      ...deadLetter,
      payload: [...deadLetter.payload],
    });
  });

  it('with a changed byte is rejected', () => {
    const bytes = encodeDeadLetter(deadLetter);
    for (let at = 0; at < bytes.byteLength; at++) {
      const changed = Buffer.from(bytes);
      changed[at] = changed[at]! ^ 1;
      expect(() => decodeDeadLetter(changed, 'it')).toThrow(DamagedError);
    }
  });
});

describe('a fact', () => {
  const stored = fc.record({
    kind: fc.constantFrom(...factKinds),
    order: fc.nat({ max: 2 ** 48 - 1 }),
    at: fc.nat({ max: 2 ** 48 - 1 }),
    value: fc.string({ unit: 'grapheme' }),
  });
  const key = Buffer.from('order/1');
  const fact = { kind: 'order', order: 1, at: 2, value: 'né' } as const;

  it('is read as it was written', () => {
    fc.assert(
      fc.property(stored, (one) => {
        expect(decodeFact(key, encodeFact(key, one), 'it')).toEqual(one);
      }),
    );
    const empty = { ...fact, value: '' };
    expect(decodeFact(key, encodeFact(key, empty), 'it')).toEqual(empty);
  });

  it('of an earlier version is read as that version wrote it', () => {
    for (const value of ['', 'né']) {
      const bytes = encodeLegacyFact('order/1', 2 ** 48 - 1, value);
      expect(decodeLegacyFact(key, bytes, 'it')).toEqual({ order: 2 ** 48 - 1, value });
    }
  });

  it.each([
    ['this version', encodeFact(key, fact), decodeFact],
    ['an earlier version', encodeLegacyFact('order/1', 1, 'né'), decodeLegacyFact],
  ])('of %s with a changed byte, a missing end or another key is rejected', (_, bytes, decode) => {
    for (let at = 0; at < bytes.byteLength; at++) {
      const changed = Buffer.from(bytes);
      changed[at]! ^= 1;
      expect(() => decode(key, changed, 'it')).toThrow(DamagedError);
      expect(() => decode(key, bytes.subarray(0, at), 'it')).toThrow(DamagedError);
    }
    expect(() => decode(Buffer.from('order/2'), bytes, 'it')).toThrow('it has a wrong checksum');
  });

  it('of an unknown kind is rejected', () => {
    const bytes = encodeFact(key, fact);
    bytes.writeUInt8(99, 4);
    bytes.writeUInt32LE(crc32(bytes.subarray(4), crc32(key)), 0);
    expect(() => decodeFact(key, bytes, 'it')).toThrow('it is of no known kind');
  });

  it('has a key of 1 to 1978 bytes', () => {
    expect(() => toFactTableKey('')).toThrow(RangeError);
    expect(() => toFactTableKey('é'.repeat(990))).toThrow(RangeError);
    expect(toFactTableKey('é'.repeat(989))).toHaveLength(1978);
  });

  it('has a place with its time and its key', () => {
    const place = { at: 2 ** 48 - 1, key };
    expect(decodePlace(encodePlace(place))).toEqual(place);
  });
});

it('damage is an error with a name, what is damaged and how to learn more', () => {
  const decode = () => decodeBlock(Buffer.alloc(9), 'block 1');
  expect(decode).toThrow(
    expect.objectContaining({
      name: 'DamagedError',
      message:
        'the journal is damaged: block 1 is no block; `klaviyo-relay store check` tells more',
    }),
  );
});
