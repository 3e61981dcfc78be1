import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { examplesOf, testExamples } from '@topk-attention/vitest-preset';
import { describe, expect, test } from 'vitest';

const root = new URL('../../../', import.meta.url);

/**
 * Pages whose examples need a setup of their own: tests beside the code, or of an app, run them. Links and fences are checked here.
 */
const runElsewhere: readonly string[] = [
  'docs/migrate.md',
  'packages/backend-onnxruntime/README.md',
  'packages/backend-tfjs/README.md',
  'packages/backend-webgpu/README.md',
  'packages/models/README.md',
];

function entries(folder: string): string[] {
  const path = new URL(folder, root);
  return existsSync(path) ? readdirSync(path).sort() : [];
}

const pages = [
  'README.md',
  ...['docs/', 'docs/kernels/'].flatMap((folder) =>
    entries(folder)
      .filter((name) => name.endsWith('.md'))
      .map((name) => folder + name),
  ),
  ...['packages/', 'apps/', 'examples/'].flatMap((parent) =>
    entries(parent).map((name) => `${parent}${name}/README.md`),
  ),
].filter((page) => existsSync(new URL(page, root)));

for (const page of pages) {
  const url = new URL(page, root);
  const text = readFileSync(fileURLToPath(url), 'utf8');
  describe(page, () => {
    // A folder for each page: many are called README.md.
    const place = new URL(`.cache/${page.replaceAll('/', '-')}/page.ts`, import.meta.url);
    if (examplesOf(text).length > 0 && !runElsewhere.includes(page)) testExamples(url, place.href);

    test('a block that is not run says why', () => {
      const fences = text.match(/^```(?:ts|js|typescript|javascript)\b.*$/gm) ?? [];
      const silent = fences.filter((fence) => !/^```\w+(\s*| no-run: \S.+)$/.test(fence));
      expect(silent).toEqual([]);
    });

    test('links to files of the repository lead somewhere', () => {
      const targets = Array.from(
        text.matchAll(/\]\((?!https?:|#)([^)#\s]+)[^)]*\)/g),
        ([, target]) => target ?? '',
      );
      expect(targets.filter((target) => !existsSync(new URL(target, url)))).toEqual([]);
    });
  });
}

test('the guide was found', () => expect(pages).toContain('docs/guide.md'));
