import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { SeededRandom } from '../../src/cli/generated-mail.ts';
import { type Found, type SearchOptions, searchBackup } from '../../src/restore/search/search.ts';
import { SearchPool } from '../../src/restore/search/search-pool.ts';
import { Selection } from '../../src/restore/selection.ts';
import { BackupSource } from '../../src/restore/source.ts';
import { withBackup } from '../../src/store/open-backup.ts';
import { guidOf, mailboxLine, messageLine, SampleBackup } from '../maintenance/backup-files.ts';

const RULES = {
  defaultDomain: '',
  virtDomains: 'off',
  unixHierarchySep: true,
  deletedPrefix: 'DELETED',
} as const;
const NO_CONDITIONS = {
  index: {
    since: undefined,
    before: undefined,
    larger: undefined,
    smaller: undefined,
    flags: [],
    withoutFlags: [],
  },
  content: { headers: [], sentSince: undefined, sentBefore: undefined, texts: [] },
} satisfies Pick<SearchOptions, 'index' | 'content'>;

/** A message as its author meant it. */
interface Model {
  mailbox: 'INBOX' | 'Sent' | 'Old';
  from: string;
  subject: string;
  body: string;
  attached: string;
  internaldate: number;
  sentAt: number;
  flags: string[];
  isExpunged: boolean;
  encodes: 'B' | 'Q' | '8bit';
}

/** The message that the author's mail program made of it. */
function mailOf(model: Model, number: number): Buffer {
  const { from, subject, body, attached, sentAt, encodes } = model;
  const word = (text: string) => (encodes === '8bit' ? utf8(text) : encodedWord(text, encodes));
  const text = encodes === 'B' ? Buffer.from(body).toString('base64') : utf8(body);
  const parts = [
    `Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ${encodes === 'B' ? 'base64' : '8bit'}\r\n\r\n${text}\r\n`,
    `Content-Type: application/x-any\r\nContent-Transfer-Encoding: base64\r\n\r\n${Buffer.from(attached).toString('base64').replaceAll(/.{76}/g, '$&\r\n')}\r\n`,
  ];
  return Buffer.from(
    `Message-ID: <${number}@example.org>\r\nFrom: ${word(from)} <1@2.3>\r\nSubject: ${word(subject)}\r\n` +
      `Date: ${new Date(sentAt * 1000).toUTCString()}\r\nContent-Type: multipart/mixed;\r\n boundary=b${number}\r\n\r\n` +
      `${parts.map((part) => `--b${number}\r\n${part}`).join('')}--b${number}--\r\n`,
    'latin1',
  );
}

const utf8 = (text: string): string => Buffer.from(text).toString('latin1');

function encodedWord(text: string, encoding: 'B' | 'Q'): string {
  if (encoding === 'B') return `=?utf-8?B?${Buffer.from(text).toString('base64')}?=`;
  return `=?UTF-8?q?${[...Buffer.from(text)].map((byte) => `=${byte.toString(16).padStart(2, '0')}`).join('')}?=`;
}

const NAMES = { INBOX: 'user.anne', Sent: 'user.anne.Sent', Old: 'DELETED.user.anne.Old.6B04A1C0' } as const;
const words = fc.array(fc.constantFrom('Alpha', 'beta', 'GÄRTEN', 'Straße', '日本', 'x', 'invoice', 'ön'), {
  minLength: 1,
  maxLength: 5,
});
const sentence = words.map((list) => list.join(' '));
const seconds = fc.integer({ min: 1_500_000_000, max: 1_700_000_000 });
const model: fc.Arbitrary<Model> = fc.record({
  mailbox: fc.constantFrom('INBOX', 'Sent', 'Old'),
  from: sentence,
  subject: sentence,
  body: fc.array(sentence, { maxLength: 30 }).map((lines) => lines.join('\r\n')),
  // Some are longer than a segment.
  attached: fc.oneof(
    { weight: 30, arbitrary: fc.constant('z') },
    { weight: 1, arbitrary: fc.constant('invoice '.repeat(40_000)) },
  ),
  internaldate: seconds,
  sentAt: seconds,
  flags: fc.uniqueArray(fc.constantFrom('\\Seen', '\\Flagged', '$Junk'), { maxLength: 3 }),
  isExpunged: fc.boolean(),
  encodes: fc.constantFrom('B', 'Q', '8bit'),
});

function backupOf(models: readonly Model[], chunks: number): { sample: SampleBackup; mails: Buffer[] } {
  const mails = models.map(mailOf);
  const lines = Array.from({ length: chunks }, (_, chunk): (string | Buffer)[] => {
    const mine = [...models.keys()].filter((number) => number % chunks === chunk);
    const records = (mailbox: string) =>
      mine
        .filter((number) => models[number]!.mailbox === mailbox)
        .map((number) => {
          const { flags, isExpunged, internaldate } = models[number]!;
          const all = isExpunged ? [...flags, '\\Expunged'] : flags;
          return { uid: number + 1, content: mails[number]!, flags: all.join(' '), internaldate };
        });
    return [
      messageLine(mine.length === 0 ? ['nothing'] : mine.map((number) => mails[number]!)),
      ...Object.entries(NAMES).map(([mailbox, name]) => mailboxLine(name, records(mailbox), { modseq: 1e6 })),
    ];
  });
  return { sample: new SampleBackup(lines), mails };
}

async function search(
  dataPath: string,
  options: Partial<Omit<SearchOptions, 'selection'>>,
  o: { deleted?: boolean; in?: string[] } = {},
): Promise<Found[]> {
  return await withBackup(dataPath, async (backup) => {
    const source = new BackupSource(backup);
    const selection = new Selection(source, {
      objects: o.in ?? [],
      rules: RULES,
      recursive: false,
      deleted: o.deleted ?? false,
      onlyDeleted: false,
    });
    const all: Found[] = [];
    for await (const found of searchBackup(source, { selection, ...NO_CONDITIONS, ...options }))
      all.push(found);
    return all;
  });
}

const uidsOf = (found: readonly Found[]): number[] =>
  found.map(({ message }) => message.uid).sort((a, b) => a - b);

/** What the test means by "contains". */
const holds = (text: string, part: string): boolean =>
  text.toLowerCase().replaceAll(/\s+/g, ' ').includes(part.toLowerCase());

describe('search', () => {
  test('finds what a naive look at the same mail finds, whoever made the index', async () => {
    const optional = <T>(arbitrary: fc.Arbitrary<T>) =>
      fc.oneof({ weight: 4, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
    const conditions = fc.record({
      from: optional(sentence),
      subject: optional(fc.constantFrom('alpha', 'STRASSE', 'straße', '日', 'n x', 'invoice')),
      text: optional(fc.constantFrom('gärten', 'invoice', '日本 x', 'beta alpha')),
      since: optional(seconds),
      sentBefore: optional(seconds),
      larger: optional(fc.integer({ min: 0, max: 1000 })),
      flag: optional(fc.constantFrom('\\seen', '$junk')),
      withoutFlag: optional(fc.constant('\\flagged')),
      deleted: fc.boolean(),
      in: optional(fc.constantFrom('INBOX', 'Sent')),
    });
    const models = fc.array(model, { minLength: 5, maxLength: 25 });
    let hits = 0;
    const property = fc.asyncProperty(
      models,
      fc.array(conditions, { minLength: 3, maxLength: 6 }),
      fc.integer({ min: 1, max: 4 }),
      fc.boolean(),
      async (all, asked, chunks, isCyrus) => {
        const { sample, mails } = backupOf(all, chunks);
        using _ = sample;
        if (isCyrus) sample.sql('DROP TABLE cb_state');
        for (const c of asked) {
          const expected = [...all.keys()].filter((number) => {
            const m = all[number]!;
            const isDeleted = m.isExpunged || m.mailbox === 'Old';
            return (
              (c.deleted || !isDeleted) &&
              (c.in === undefined || m.mailbox === c.in) &&
              (c.from === undefined || holds(m.from, c.from)) &&
              (c.subject === undefined || holds(m.subject, c.subject)) &&
              (c.text === undefined || [m.from, m.subject, m.body].some((text) => holds(text, c.text!))) &&
              (c.since === undefined || m.internaldate >= c.since) &&
              (c.sentBefore === undefined || m.sentAt < c.sentBefore) &&
              (c.larger === undefined || mails[number]!.length > c.larger) &&
              (c.flag === undefined || m.flags.some((flag) => flag.toLowerCase() === c.flag)) &&
              (c.withoutFlag === undefined || !m.flags.some((flag) => flag.toLowerCase() === c.withoutFlag))
            );
          });
          const { from, subject } = c;
          const headers = Object.entries({ from, subject }).flatMap(([name, text]) =>
            text === undefined ? [] : [{ name, text }],
          );
          const found = await search(
            sample.dataPath,
            {
              index: {
                ...NO_CONDITIONS.index,
                since: c.since,
                larger: c.larger,
                flags: c.flag === undefined ? [] : [c.flag],
                withoutFlags: c.withoutFlag === undefined ? [] : [c.withoutFlag],
              },
              content: {
                headers,
                sentSince: undefined,
                sentBefore: c.sentBefore,
                texts: c.text === undefined ? [] : [c.text],
              },
            },
            { deleted: c.deleted, in: c.in === undefined ? undefined : [c.in] },
          );
          expect(found.every(({ type }) => type === 'hit')).toBe(true);
          expect(uidsOf(found)).toEqual(expected.map((number) => number + 1));
          hits += expected.length;
        }
      },
    );
    await fc.assert(property, { numRuns: 25 });
    expect(hits).toBeGreaterThan(20);
  });

  test('says From, Subject and Date as they were meant, in the order of the file, the same by threads', async () => {
    const models = fc.sample(model, { numRuns: 60, seed: 5 }).map((m) => ({ ...m, isExpunged: false }));
    const { sample } = backupOf(models, 3);
    using _ = sample;
    const found = await search(sample.dataPath, {}, { deleted: true });
    expect(found).toHaveLength(models.length);
    for (const hit of found) {
      const { subject, from, sentAt, internaldate } = models[hit.message.uid - 1]!;
      expect(hit).toMatchObject({
        type: 'hit',
        facts: {
          subject,
          from: `${from} <1@2.3>`,
          sentAt,
          messageId: `<${hit.message.uid - 1}@example.org>`,
        },
        message: { internaldate },
      });
    }
    const inFile = [0, 1, 2]
      .flatMap((chunk) => [...models.keys()].filter((n) => n % 3 === chunk))
      .map((n) => n + 1);
    expect(found.map(({ message }) => message.uid)).toEqual(inFile);
    const byThreads = await search(sample.dataPath, { pool: new SearchPool(1, 0) }, { deleted: true });
    expect(byThreads).toEqual(found);
  });

  test('a message in two mailboxes is two hits', async () => {
    const mail = 'Subject: twice\r\n\r\n';
    using sample = new SampleBackup([
      [messageLine([mail])],
      [
        mailboxLine('user.anne', [{ uid: 7, content: mail }]),
        mailboxLine('user.anne.Sent', [{ uid: 9, content: mail }]),
      ],
    ]);
    expect(uidsOf(await search(sample.dataPath, {}))).toEqual([7, 9]);
  });

  test('damage costs the messages in it, and is said', async () => {
    const body = (number: number) =>
      Buffer.from(String(number % 10).repeat(10))
        .toString('base64')
        .repeat(300);
    // Of random letters, so that segments are as long as what they hold.
    const random = new SeededRandom(1);
    const models = Array.from({ length: 60 }, () => random.letters(45_000));
    // Found at their ends only, so that each is read as a whole.
    const mails = models.map(
      (text, number) => `Subject: number ${number}\r\n\r\n${text}${body(number)}\r\nthe last line\r\n`,
    );
    using sample = new SampleBackup([
      [
        messageLine(mails),
        mailboxLine(
          'user.anne',
          mails.map((content, n) => ({ uid: n + 1, content })),
        ),
      ],
    ]);
    const bytes = sample.bytes();
    bytes.fill(0xff, bytes.length >> 1, (bytes.length >> 1) + 3000);
    sample.write(bytes);
    const found = await search(sample.dataPath, {
      content: { ...NO_CONDITIONS.content, texts: ['the last line'] },
    });
    expect(uidsOf(found)).toEqual(mails.map((_, n) => n + 1));
    const unread = found.filter(({ type }) => type === 'unread');
    expect(unread.length).toBeGreaterThan(0);
    expect(unread.length).toBeLessThan(30);
    expect(unread[0]).toMatchObject({ kind: 'damaged', reason: expect.stringContaining('damaged') });
  });

  test('what the backup has no content of is found by what the index says, and not judged by what it does not', async () => {
    const mail = 'Subject: gone\r\n\r\n';
    using sample = new SampleBackup([[mailboxLine('user.anne', [{ uid: 3, content: mail }])]]);
    expect(await search(sample.dataPath, {})).toMatchObject([
      { type: 'hit', message: { uid: 3, guid: guidOf(mail) }, facts: null },
    ]);
    const content = { ...NO_CONDITIONS.content, headers: [{ name: 'subject', text: 'gone' }] };
    expect(await search(sample.dataPath, { content })).toMatchObject([{ type: 'unread', kind: 'absent' }]);
  });
});
