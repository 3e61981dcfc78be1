import { describe, expect, test, vi } from 'vitest';
import { bootstrapMean, meanOfGroups } from '../src/evaluation/bootstrap.js';
import { seededRandom } from '../src/evaluation/random.js';
import { formatDuration, ProgressBar } from '../src/output/progress.js';
import { renderTable } from '../src/output/table.js';

describe('bootstrap', () => {
  test('of a constant has no width', () => {
    expect(bootstrapMean([[2, 2, 2], [2]], 1)).toEqual({ mean: 2, low: 2, high: 2 });
  });

  test('is near the interval of the normal distribution where that holds', () => {
    const random = seededRandom(7);
    const values = Array.from({ length: 400 }, () => random());
    const { mean, low, high } = bootstrapMean([values], 2021);
    const average = values.reduce((sum, value) => sum + value, 0) / values.length;
    const variance = values.reduce((sum, value) => sum + (value - average) ** 2, 0) / values.length;
    const margin = 1.96 * Math.sqrt(variance / values.length);
    expect(mean).toBeCloseTo(average, 12);
    expect(low).toBeGreaterThan(average - 1.1 * margin);
    expect(low).toBeLessThan(average - 0.9 * margin);
    expect(high).toBeGreaterThan(average + 0.9 * margin);
    expect(high).toBeLessThan(average + 1.1 * margin);
  });

  test('repeats itself', () => {
    const groups = [[0, 100, 0], [100]];
    expect(bootstrapMean(groups, 5)).toEqual(bootstrapMean(groups, 5));
  });

  test('means are over groups, not over questions', () => {
    expect(meanOfGroups([[0, 0, 0], [100]])).toBe(50);
  });
});

test('a table is as wide as its cells, numbers to the right, long text cut', () => {
  const columns = [
    { title: 'name', maxWidth: 5 },
    { title: 'n', align: 'right' },
  ] as const;
  expect(
    renderTable(columns, [
      ['a', '10'],
      ['abcdefg', ' 9'],
    ]),
  ).toBe(['name    n', '-----  --', 'a      10', 'abcd…   9'].join('\n'));
});

test.each([
  [849.6, '850 ms'],
  [12_345, '12.3 s'],
  [200_000, '3 min 20 s'],
])('%d ms is %s', (milliseconds, text) => expect(formatDuration(milliseconds)).toBe(text));

describe('the progress bar', () => {
  const draw = (isTTY: boolean): string => {
    const written: string[] = [];
    const bar = new ProgressBar({ isTTY, columns: 60, write: (text) => written.push(text) });
    bar.update(1, 4, 'exact', true);
    bar.clear();
    return written.join('');
  };

  test('draws on a terminal, within its width, and leaves nothing behind', () => {
    const written = draw(true);
    expect(written).toContain('██████░░');
    expect(written).toContain('1/4');
    expect(written.endsWith('\r\u001b[2K')).toBe(true);
  });

  test('writes nothing where nobody looks', () => expect(draw(false)).toBe(''));

  test('moves by time within a step, and says what is left; elsewhere a line now and then', () => {
    vi.useFakeTimers();
    try {
      const written = { terminal: '', file: '', json: '' };
      const bars = [
        new ProgressBar({ isTTY: true, columns: 90, write: (text) => (written.terminal = text) }),
        new ProgressBar({ write: (text) => (written.file += text) }),
        new ProgressBar({ write: (text) => (written.json += text) }, true),
      ];
      for (const bar of bars) bar.update(0, 8, 'reading', true);
      vi.advanceTimersByTime(8000);
      for (const bar of bars) bar.update(2, 8, 'reading', true);
      const filled = (): number => written.terminal.split('█').length - 1;
      vi.advanceTimersByTime(500);
      const atOnce = filled();
      expect(atOnce).toBe(6);
      expect(written.file).toBe('');
      // A step takes 4 s so far; most of the next has passed by its time.
      vi.advanceTimersByTime(2000);
      expect(filled()).toBeGreaterThan(atOnce);
      expect(filled()).toBeLessThan(9);
      expect(written.terminal).toContain('2/8  about 21.5 s left  reading, 10.5 s so far');
      vi.advanceTimersByTime(60_000);
      expect(
        written.file.split('\n').filter((line) => /^2\/8 .*reading, .* so far$/.test(line)),
      ).toHaveLength(2);
      expect(written.json).toBe('');
      for (const bar of bars) bar.clear();
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });
});
