import { describe, expect, test, vi } from 'vitest';
import { ProgressBar } from '../../src/node/progress-bar.js';

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
