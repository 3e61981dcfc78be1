import { spawn } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rfa, sigmoidAttention } from '@topk-attention/mechanisms';
import { optional } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';
import type { VariantSummary } from '../src/evaluation/summary.js';
import {
  cliPath,
  type JsonError,
  jsonOf,
  outcomeOf,
  runCli,
  smallModel,
  startCli,
  temporaryFolder,
  writeIn,
} from './cli-support.js';
import { runProgram } from './run-program.js';

interface Report {
  readonly dataset: { readonly questions: number };
  readonly variants: readonly VariantSummary[];
}

const folder = temporaryFolder();
const model = smallModel(folder);
const common = ['--model', model, '--backend', 'reference', '--max-new-tokens', '3'];
const evaluate = (args: readonly string[]): ReturnType<typeof runProgram> =>
  runProgram(['eval', ...common, ...args]);
const report = async (args: readonly string[]): Promise<Report> => {
  const outcome = await evaluate([...args, '--json']);
  expect(outcome).toMatchObject({ code: 0, stderr: '' });
  return jsonOf<Report>(outcome);
};

const places = ['garden', 'kitchen', 'office', 'hallway'];
const babiLines = Array.from({ length: 24 }, (_, at) =>
  JSON.stringify({
    id: `q${at}`,
    task: 1 + (at % 3),
    question: `Where is Ann ${at}?`,
    context: `Ann ${at} went to the ${places[at % 4]}. Bob is in the ${places[(at + 1) % 4]}.`,
    answer: places[at % 4],
  }),
);
const babi = writeIn(folder, 'babi.jsonl', `${babiLines.join('\n')}\n`);

describe('formats', () => {
  test('squad, where the small model answers with its own nonsense as gold', async () => {
    const context = 'Ann went to the garden.';
    const args = [
      '--context',
      writeIn(folder, 'ann.txt', context),
      '--attention-k',
      'exact',
      '--feed-forward-k',
      'exact',
    ];
    const asked = await runProgram(['ask', '--question', 'Where is Ann?', ...common, ...args, '--json']);
    const { text } = jsonOf<{ text: string }>(asked);
    const question = (id: string, answer: string): object => ({
      id,
      question: 'Where is Ann?',
      answers: [{ text: answer }],
    });
    const unanswerable = { id: 'c', question: 'Why?', answers: [], is_impossible: true };
    const qas = [question('a', text), question('b', 'garden'), unanswerable];
    const file = writeIn(
      folder,
      'squad.json',
      JSON.stringify({ data: [{ paragraphs: [{ context, qas }] }] }),
    );
    const { variants, dataset } = await report(['--dataset', file, '--format', 'squad', '--k', '1']);
    expect(dataset.questions).toBe(3);
    expect(variants.map((variant) => variant.name)).toEqual(['exact', 'k=1 ff=8']);
    expect(variants[0]?.exactMatch).toBeCloseTo(100 / 3);
    expect(variants[0]?.sameAsExact).toBe(100);
    expect(variants[0]).not.toHaveProperty('difference');
  });

  test('unifiedqa: question and passage at the first literal backslash-n', async () => {
    const line = 'where is ann? \\n (A) garden (B) kitchen \\n ann went to the garden.\tgarden';
    const file = writeIn(folder, 'dev.tsv', `${line}\n\n${line}\n`);
    const out = join(folder, 'unifiedqa.json');
    const { variants } = await report(['--dataset', file, '--format', 'unifiedqa', '--k', '4', '--out', out]);
    expect(variants).toHaveLength(2);
    const [, entry] = readFileSync(`${out}.journal.jsonl`, 'utf8').split('\n');
    // One character a token: the whole input as UnifiedQA has it, a space before the first word, end of sequence.
    const input = line.split('\t')[0] ?? '';
    expect(JSON.parse(entry ?? '')).toMatchObject({ id: 'line 1', promptTokens: input.length + 2 });
    expect(JSON.parse(readFileSync(out, 'utf8'))).toMatchObject({ dataset: { questions: 2 } });
  });

  test('babi: a table with a row for each task, and their mean', async () => {
    const { code, stdout, stderr } = await evaluate([
      '--dataset',
      babi,
      '--format',
      'babi',
      '--k',
      '4,64',
      '--limit',
      '1',
    ]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(
      /^variant +EM +F1 +EM - exact \(95 %\) .*\n[- ]+\nexact .*\nk=4 ff=8 .*\nk=64 ff=8 /,
    );
    expect(stdout).toMatch(
      /^task +questions +exact +k=4 ff=8 +k=64 ff=8\n[- ]+\n1 +1 .*\n2 +1 .*\n3 +1 .*\nmean /m,
    );
    expect(stdout).toMatch(/^3 questions of .*babi\.jsonl; reference backend/m);
  });
});

test('one question is one question', async () => {
  const one = writeIn(folder, 'one.jsonl', `${babiLines[0]}\n`);
  const { stdout } = await evaluate(['--dataset', one, '--format', 'babi', '--k', '4']);
  expect(stdout).toMatch(/^1 question of .*one\.jsonl; reference backend/m);
});

const isLinux = { need: 'proc', available: existsSync('/dev/full'), reason: 'no /dev/full' };

optional('a full disk is an error with a code, on standard output too', isLinux, async () => {
  const command = 'exec "$0" "$1" eval --help > /dev/full';
  const child = spawn('sh', ['-c', command, process.execPath, cliPath], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const outcome = await outcomeOf(child);
  expect(outcome.code).toBe(1);
  expect(outcome.stderr).toMatch(/Error FILE_NOT_FOUND: standard output cannot be written, got ENOSPC/);
});

describe('variants', () => {
  test('top-k that keeps everything differs from exact by nothing; random keys do not', async () => {
    const args = ['--dataset', babi, '--format', 'babi', '--limit', '2', '--feed-forward-k', '96'];
    const { variants } = await report([...args, '--k', '1000', '--random-k', '1000,3']);
    const [, all, randomAll, random] = variants;
    expect(all).toMatchObject({ name: 'k=1000 ff=96', isRandom: false, sameAsExact: 100 });
    expect(all?.difference?.exactMatch).toEqual({ mean: 0, low: 0, high: 0 });
    // All keys, chosen in any order, are all keys.
    expect(randomAll).toMatchObject({ name: 'random k=1000 ff=96', isRandom: true, sameAsExact: 100 });
    expect(random?.sameAsExact).toBeLessThan(100);
  });

  test('a list of feed-forward k goes with every k, exact too', async () => {
    const args = ['--dataset', babi, '--format', 'babi', '--limit', '1'];
    const { variants } = await report([...args, '--k', 'exact,4', '--feed-forward-k', 'exact,8']);
    expect(variants.map((variant) => variant.name)).toEqual([
      'exact',
      'k=4 ff=exact',
      'k=exact ff=8',
      'k=4 ff=8',
    ]);
  });
});

describe('mechanisms in cross-attention', () => {
  const args = [
    '--dataset',
    babi,
    '--format',
    'babi',
    '--limit',
    '2',
    '--k',
    'exact',
    '--feed-forward-k',
    'exact',
  ];

  test('exact and a top-k that keeps everything are exact; features are drawn by seed', async () => {
    const cross = ['--cross-attention', 'exact,top-k:1000,performer:4', '--feature-seeds', '1,2'];
    const { variants } = await report([...args, ...cross]);
    expect(variants.map(({ name }) => name)).toEqual([
      'exact',
      'cross exact',
      'cross top-k keys=1000',
      'cross performer features=4 seed=1',
      'cross performer features=4 seed=2',
    ]);
    for (const { sameAsExact } of variants.slice(1, 3)) expect(sameAsExact).toBe(100);
    expect(variants[3]).toMatchObject({ cross: { name: 'performer', size: 4, seed: 1 } });
  });

  test('what does not estimate softmax is refused with its own reason', async () => {
    const outcome = await evaluate([...args, '--cross-attention', 'rfa,sigmoid', '--json']);
    const { variants, refused } = jsonOf<Report & { refused: readonly { name: string; reason: string }[] }>(
      outcome,
    );
    expect(variants).toHaveLength(1);
    const reasons = [rfa(), sigmoidAttention()].map(({ refusals }) => refusals?.zeroShot);
    expect(refused.map(({ name }) => name)).toEqual(['rfa', 'sigmoid']);
    expect(refused.map(({ reason }) => reason)).toEqual(reasons);
  });

  test.each([
    ['top-k', /Expected top-k:N, N keys/],
    ['exact:3', /Expected exact alone/],
    ['performer:0', /at least 1/],
    ['none', /Expected one of exact/],
  ])('%s is wrong use', async (value, message) => {
    const { code, stderr } = await evaluate([...args, '--cross-attention', value]);
    expect(code).toBe(2);
    expect(stderr).toMatch(message);
  });
});

describe('resuming', () => {
  const args = ['--dataset', babi, '--format', 'babi', '--k', '2,8', '--random-k', '2'];
  const total = 24 * 4;
  const withoutTimes = ({ variants }: Report): object[] => variants.map(({ milliseconds, ...rest }) => rest);
  const linesOf = (journal: string): string[] =>
    existsSync(journal) ? readFileSync(journal, 'utf8').split('\n').slice(0, -1) : [];

  async function stopInTheMiddle(
    out: string,
    signal: NodeJS.Signals,
  ): Promise<Awaited<ReturnType<typeof outcomeOf>>> {
    const child = startCli(['eval', ...common, ...args, '--out', out]);
    const ended = outcomeOf(child);
    while (linesOf(`${out}.journal.jsonl`).length < 12)
      await new Promise((resolve) => setTimeout(resolve, 10));
    child.kill(signal);
    return ended;
  }

  test('after a kill gives the numbers of a run that was never stopped', async () => {
    const out = join(folder, 'killed.json');
    const journal = `${out}.journal.jsonl`;
    await stopInTheMiddle(out, 'SIGKILL');
    const before = linesOf(journal);
    expect(before.length).toBeLessThan(1 + total);
    expect(existsSync(out)).toBe(false);
    // Power may fail in the middle of a line.
    appendFileSync(journal, '{"id":"q20","variant":"exa');

    const resumed = jsonOf<Report>(
      await runCli(['eval', ...common, ...args, '--out', out, '--resume', '--json']),
    );
    const after = linesOf(journal);
    expect(after).toHaveLength(1 + total);
    // What was answered before was not answered again: its times are still those of then.
    expect(after.slice(0, before.length)).toEqual(before);
    expect(withoutTimes(resumed)).toEqual(withoutTimes(await report(args)));
    expect(JSON.parse(readFileSync(out, 'utf8'))).toEqual(resumed);
  });

  test('SIGINT says how to go on and ends with exit code 130', async () => {
    const out = join(folder, 'interrupted.json');
    const { code, stdout, stderr } = await stopInTheMiddle(out, 'SIGINT');
    expect({ code, stdout }).toEqual({ code: 130, stdout: '' });
    expect(stderr).toContain('--resume continues');
    expect(stderr).toMatch(/Interrupted\.\n$/);
    const more = await report([...args, '--out', out, '--resume', '--limit', '1']);
    expect(more.dataset.questions).toBe(3);
  });

  test('a folder as --out is told at once, and nothing is left behind', async () => {
    const out = join(folder, 'taken');
    mkdirSync(out);
    const outcome = await evaluate([...args, '--out', out, '--json']);
    expect(outcome.code).toBe(1);
    expect(jsonOf<JsonError>(outcome).error).toMatchObject({
      code: 'FILE_NOT_FOUND',
      message: expect.stringMatching(/taken cannot be written, got a folder/),
    });
    expect(readdirSync(folder).filter((name) => name.startsWith('taken'))).toEqual(['taken']);
  });

  test('without --resume, results that are there are not touched', async () => {
    const out = join(folder, 'there.json');
    writeFileSync(`${out}.journal.jsonl`, 'mine\n');
    const outcome = await evaluate([...args, '--out', out, '--json']);
    expect(outcome.code).toBe(1);
    expect(jsonOf<JsonError>(outcome).error).toMatchObject({
      code: 'INVALID_OPTION',
      fix: expect.stringMatching(/--resume/),
    });
    expect(readFileSync(`${out}.journal.jsonl`, 'utf8')).toBe('mine\n');
  });

  test('results of another dataset are refused', async () => {
    const out = join(folder, 'other.json');
    const small = ['--format', 'babi', '--k', '4', '--limit', '1', '--out', out, '--resume', '--json'];
    const other = writeIn(folder, 'other.jsonl', `${babiLines.slice(3).join('\n')}\n`);
    expect((await evaluate(['--dataset', babi, ...small])).code).toBe(0);
    const outcome = await evaluate(['--dataset', other, ...small]);
    expect(outcome.code).toBe(1);
    expect(jsonOf<JsonError>(outcome).error.message).toMatch(/results of another run: dataset differs/);
  });

  test('a broken line that is not the last is refused', async () => {
    const out = join(folder, 'broken.json');
    const small = [
      '--dataset',
      babi,
      '--format',
      'babi',
      '--k',
      '4',
      '--limit',
      '1',
      '--out',
      out,
      '--resume',
      '--json',
    ];
    expect((await evaluate(small)).code).toBe(0);
    const journal = `${out}.journal.jsonl`;
    const [header, ...entries] = linesOf(journal);
    writeFileSync(journal, [header, '{"id": 3}', ...entries, ''].join('\n'));
    const outcome = await evaluate(small);
    expect(outcome.code).toBe(1);
    expect(jsonOf<JsonError>(outcome).error).toMatchObject({ code: 'FILE_CORRUPT' });
    expect(jsonOf<JsonError>(outcome).error.message).toMatch(
      /broken\.json\.journal\.jsonl:2: broken journal/,
    );
  });

  test('a folder that is not there is made', async () => {
    const out = join(folder, 'new', 'deep', 'scores.json');
    await report(['--dataset', babi, '--format', 'babi', '--k', '4', '--limit', '1', '--out', out]);
    expect(existsSync(out)).toBe(true);
  });
});

describe('bad datasets: exit code 1 with file and line, before the model runs', () => {
  test.each<[string, string, string, string, RegExp]>([
    ['not JSON', 'squad', 'a.json', '{"data": [\n{"paragraphs": oops', /a\.json:2: not JSON/],
    ['no data', 'squad', 'b.json', '{}', /b\.json: data does not follow .*: expected a list, got nothing/],
    [
      'no context',
      'squad',
      'c.json',
      '{"data":[{"paragraphs":[{"qas":[]}]}]}',
      /data\[0\]\.paragraphs\[0\]\.context does not follow .*: expected text, got nothing/,
    ],
    ['no questions', 'squad', 'd.json', '{"data":[]}', /d\.json: no questions: expected at least one/],
    [
      'three columns',
      'unifiedqa',
      'e.tsv',
      'a \\n b\tc\nq\ta\tb\n',
      /e\.tsv:2: bad line: expected two columns .* got 3/,
    ],
    [
      'no question',
      'unifiedqa',
      'f.tsv',
      ' \\n passage\tanswer\n',
      /f\.tsv:1: bad line: expected a question/,
    ],
    [
      'no JSON on a line',
      'babi',
      'g.jsonl',
      `${babiLines[0]}\n\n{"id"\n`,
      /g\.jsonl:3: bad line: expected a JSON object/,
    ],
    [
      'a missing field',
      'babi',
      'h.jsonl',
      '{"id":1,"task":2}',
      /h\.jsonl:1: bad line: expected text in "answer", got nothing/,
    ],
    ['the same id twice', 'babi', 'i.jsonl', `${babiLines[0]}\n${babiLines[0]}\n`, /the id q0 occurs twice/],
    ['an empty file', 'babi', 'j.jsonl', '', /j\.jsonl: no questions/],
  ])('%s', async (_name, format, file, content, message) => {
    const path = writeIn(folder, file, content);
    const outcome = await evaluate(['--dataset', path, '--format', format, '--json']);
    expect(outcome).toMatchObject({ code: 1, stderr: '' });
    const { error } = jsonOf<JsonError>(outcome);
    expect(error.code).toBe('FILE_CORRUPT');
    expect(error.message).toMatch(message);
    expect(error.fix).toBeTruthy();
  });

  test('a file that is not there', async () => {
    const { code, stderr } = await evaluate(['--dataset', 'nowhere.json', '--format', 'squad']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^Error FILE_NOT_FOUND: dataset nowhere\.json cannot be read, got ENOENT/);
  });
});
