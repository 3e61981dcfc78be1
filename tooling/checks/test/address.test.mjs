import { expect, test } from 'vitest';
import { publishedReadme, relativeLinks, withAddress } from '../../scripts/address.mjs';

const readme =
  'The [guide](../../docs/guide.md#top), [core](../core), [here](#here) and [npm](https://www.npmjs.com).';
const address = 'https://example.org/owner/name';

test('links of a published README are absolute', () => {
  expect(publishedReadme(readme, 'packages/nn', address)).toBe(
    'The [guide](https://example.org/owner/name/blob/HEAD/docs/guide.md#top), [core](https://example.org/owner/name/blob/HEAD/packages/core), [here](#here) and [npm](https://www.npmjs.com).',
  );
});

test('without an address a relative link is its text alone', () => {
  expect(publishedReadme(readme, 'packages/nn')).toBe(
    'The guide, core, [here](#here) and [npm](https://www.npmjs.com).',
  );
});

test('relative links are found', () => {
  expect(relativeLinks(readme)).toEqual(['](../../docs/guide.md#top)', '](../core)']);
  const others = '[a [b]](../c), <img src="../d.png">\n[e]: ../f\n[g]: https://example.org';
  expect(relativeLinks(others)).toEqual(['](../c)', 'src="../d.png"', '[e]: ../f']);
});

test('a manifest names the repository, or nothing', () => {
  expect(withAddress({ name: 'nn' }, 'packages/nn', address)).toEqual({
    name: 'nn',
    repository: { type: 'git', url: 'git+https://example.org/owner/name.git', directory: 'packages/nn' },
    homepage: 'https://example.org/owner/name/tree/HEAD/packages/nn#readme',
    bugs: 'https://example.org/owner/name/issues',
  });
  expect(withAddress({ name: 'nn' }, 'packages/nn')).toEqual({ name: 'nn' });
});
