import { expect, test } from 'vitest';
import { parsePipConfig, pipSources } from '../pip-config.mjs';

test('reads the sections that pip download reads, with values over several lines', () => {
  const text = `; comment
[global]
index-url = https://mirror.example/simple
extra_index_url =
    https://one.example/simple
    https://two.example/simple
# another
[install]
index-url = https://not-this.example
[download]
find-links: /wheels
`;
  expect(parsePipConfig(text)).toEqual({
    'index-url': 'https://mirror.example/simple',
    'extra-index-url': '\nhttps://one.example/simple\nhttps://two.example/simple',
    'find-links': '/wheels',
  });
});

const pypi = 'https://pypi.org/simple';

test('PyPI is asked where nothing is configured', () => {
  expect(pipSources({}, [])).toEqual({ indexes: [pypi], links: [] });
});

test('a later file wins over an earlier one, and the environment over both', () => {
  const texts = [
    '[global]\nindex-url=https://a.example\nfind-links=/a',
    '[global]\nindex-url=https://b.example',
  ];
  expect(pipSources({}, texts)).toEqual({ indexes: ['https://b.example', pypi], links: ['file:///a'] });
  const env = {
    PIP_INDEX_URL: 'https://c.example',
    PIP_EXTRA_INDEX_URL: 'https://d.example https://e.example',
  };
  expect(pipSources(env, texts).indexes).toEqual([
    'https://c.example',
    'https://d.example',
    'https://e.example',
    pypi,
  ]);
  expect(pipSources({ PIP_NO_INDEX: '1', PIP_FIND_LINKS: 'https://f.example/list.html' }, texts)).toEqual({
    indexes: [],
    links: ['https://f.example/list.html'],
  });
});
