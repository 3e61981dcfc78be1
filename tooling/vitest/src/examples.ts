import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { format } from 'node:util';
import { afterAll, expect, test, vi } from 'vitest';

/** One fenced block of code in a Markdown file. */
export interface Example {
  readonly heading: string;
  readonly line: number;
  readonly code: string;
  /** What the block says it prints: its `// prints: ...` comments, in order. */
  readonly prints: readonly string[];
}

/** The `ts` and `js` blocks of a Markdown text. A block marked `ts no-run` is shown to readers only. */
export function examplesOf(markdown: string): Example[] {
  const examples: Example[] = [];
  let heading = '';
  let open: { line: number; run: boolean; lines: string[] } | undefined;
  markdown.split('\n').forEach((text, index) => {
    const fence = /^```(.*)$/.exec(text);
    if (open) {
      if (fence) {
        const code = open.lines.join('\n');
        const prints = [...code.matchAll(/\/\/ prints: (.*)$/gm)].map((match) => (match[1] ?? '').trim());
        if (open.run) examples.push({ heading, line: open.line, code, prints });
        open = undefined;
      } else open.lines.push(text);
    } else if (fence) {
      open = { line: index + 2, run: /^(ts|js|typescript|javascript)\s*$/.test(fence[1] ?? ''), lines: [] };
    } else if (text.startsWith('#')) heading = text.replace(/^#+\s*/, '');
  });
  return examples;
}

/**
 * Registers one test per example of a Markdown file: the block runs as a module of the calling package, must not
 * throw, and must print what its `// prints: ...` comments say, as Node prints it.
 *
 * @param markdown where the file is: `new URL('../README.md', import.meta.url)`
 * @param testFile `import.meta.url` of the test, for a file outside the package (docs, the root README): bare
 *   imports then resolve as they do for that package
 */
export function testExamples(markdown: URL, testFile: string = markdown.href): void {
  const file = fileURLToPath(markdown);
  const examples = examplesOf(readFileSync(file, 'utf8'));
  const folder = join(dirname(fileURLToPath(testFile)), '.cache', `examples-${basename(file, '.md')}`);
  mkdirSync(folder, { recursive: true });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  test(`${basename(file)} has examples`, () => expect(examples.length).toBeGreaterThan(0));
  for (const { heading, line, code, prints } of examples) {
    test(`${basename(file)}:${line} ${heading}`, async () => {
      const module = join(folder, `line-${line}.ts`);
      writeFileSync(module, `${code}\nexport {};\n`);
      const log = vi.spyOn(console, 'log').mockImplementation(() => {});
      try {
        await import(/* @vite-ignore */ module);
        const printed = log.mock.calls.map((values) => format(...values));
        if (prints.length > 0) expect(printed).toEqual(prints);
      } finally {
        log.mockRestore();
      }
    });
  }
}
