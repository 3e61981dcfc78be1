import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { findingsOf } from '../src/demo/findings.js';
import { passageAbout } from '../src/demo/passage.js';
import type { Run, StartReport, Way } from '../src/demo/report.js';
import { unfamiliarWords } from '../src/engine/embedded-model.js';
import type { Answer, EngineInfo } from '../src/engine/protocol.js';

const MIB = 2 ** 20;

function run(way: Way, tokens: number, milliseconds: number, own: number, texts = ['garden', 'red']): Run {
  const answers = texts.map(
    (text): Answer => ({
      text,
      attentionK: way === 'top-k' ? 64 : 'exact',
      feedForwardK: way === 'top-k' ? 64 : 'exact',
      promptTokens: tokens,
      newTokens: 2,
      milliseconds,
      peakBytes: (100 + own) * MIB,
      plans: [],
    }),
  );
  const loadedBytes = 100 * MIB;
  const right = texts.filter((text) => text !== 'wrong').length;
  return { way, tokens, answers, right, milliseconds, peakBytes: loadedBytes + own * MIB, loadedBytes };
}

function reportOf(runs: readonly Run[], memory: EngineInfo['memory'] = 'process'): StartReport {
  const engine: EngineInfo = {
    backend: 'onnxruntime',
    description: 'engine',
    model: 'model',
    feedForwardUnits: 768,
    loadMilliseconds: 1,
    memory,
    loadedBytes: 100 * MIB,
  };
  const questions = [
    { question: 'Where?', answer: 'garden' },
    { question: 'What color?', answer: 'red' },
  ];
  const kept = { attention: 64, feedForward: 64 };
  return { engine, document: 'text', questions, kept, runs, date: '2026-11-28', command: 'pnpm start' };
}

const textsOf = (report: StartReport): string[] => findingsOf(report).map(({ text }) => text);

describe('the sentences follow from the numbers', () => {
  const short = [run('plain', 1000, 400, 100), run('exact', 1000, 400, 80), run('top-k', 1000, 700, 90)];

  test('memory: how much less, and how each grew', () => {
    const long = [
      run('plain', 4000, 4000, 1600),
      run('exact', 4000, 5000, 160),
      run('top-k', 4000, 8000, 180),
    ];
    const [chunks, k, answers] = textsOf(reportOf([...short, ...long]));
    expect(chunks).toBe(
      'Over 4,000 tokens plain attention takes 1,600 MiB beyond engine and model, attention in chunks 160: 10.0 times less, ' +
        'at the price of some time (5.0 s an answer against 4.0 s). With 4.0 times the tokens plain grew 16.0 times, chunks 2.0 times.',
    );
    expect(k).toMatch(
      /^Over 4,000 tokens on this CPU top-k takes 1\.6 times as long as exact .*: no gain at this length/,
    );
    expect(answers).toMatch(/keeps 64 of up to 4,000 keys a query and 64 of 768 hidden units/);
    expect(answers).toMatch(/over 1,000 tokens 2 of 2 \(2 right\), over 4,000 tokens 2 of 2 \(2 right\)\.$/);
  });

  test('nothing is claimed that was not measured', () => {
    const equal = [
      run('plain', 200, 100, 50),
      run('exact', 200, 100, 50),
      run('top-k', 200, 50, 50, ['garden', 'wrong']),
    ];
    const [chunks, k, answers] = textsOf(reportOf(equal, 'gpu'));
    expect(chunks).toMatch(/chunks save nothing/);
    expect(k).toMatch(/^Over 200 tokens on this GPU top-k takes 0\.50 of the time of exact/);
    expect(answers).toMatch(/over 200 tokens 1 of 2 \(2 right\)\.$/);
    expect(findingsOf(reportOf(equal)).at(-1)?.title).toBe('What is shown: how many answers stay the same');
    expect(findingsOf(reportOf(short)).at(-1)?.title).toBe('What is shown: the same answers');
  });

  test('what did not fit is said with its numbers', () => {
    const message = 'does not fit: needs about 21.3 GiB, 18 GiB are free';
    const failed: Run = {
      ...run('plain', 16_000, 0, 0, []),
      failure: { summary: 'does not fit', message },
    };
    const [chunks] = textsOf(reportOf([...short, failed, run('exact', 16_000, 60_000, 900, ['garden'])]));
    expect(chunks).toContain(`Over 16,000 tokens plain attention ${message}; in chunks it takes 900 MiB.`);
  });
});

describe('a part of a text', () => {
  const paragraphs = Array.from(
    { length: 12 },
    (_, at) => `Filling number ${at} of the text, without names.`,
  );
  paragraphs[7] = '(The red map) Ann went to the garden. The text.';
  const text = paragraphs.join('\n\n');

  test('is around the paragraph that is like the question, whole paragraphs in their order', () => {
    const passage = passageAbout(text, 'In the red map, where is Ann?', text.length / 3);
    expect(passage).toContain('Ann went to the garden.');
    expect(text).toContain(passage);
    expect(passage.length).toBeLessThanOrEqual(text.length / 3 + 8);
    expect(passage.length).toBeGreaterThan(text.length / 5);
  });

  test('is the paragraph itself where there is no room for more', () => {
    expect(passageAbout(text, 'Where is Ann?', 1)).toBe(paragraphs[7]);
    expect(passageAbout('One paragraph.', 'Where?', 3)).toBe('One paragraph.');
  });
});

test('the included model knows the words of every question that comes along', () => {
  const lines = readFileSync(new URL('../data/babi-50.jsonl', import.meta.url), 'utf8')
    .trim()
    .split('\n');
  const sample: { question: string }[] = JSON.parse(
    readFileSync(new URL('../data/sample-questions.json', import.meta.url), 'utf8'),
  );
  const questions = [...lines.map((line): { question: string } => JSON.parse(line)), ...sample];
  expect(questions.filter(({ question }) => unfamiliarWords(question).length > 0)).toEqual([]);
  expect(unfamiliarWords('Who built the tower?')).toEqual(['built', 'tower']);
});
