import { expect, test } from 'vitest';
import { escapeHtml } from '../../src/report/escape-html.js';
import { htmlPage } from '../../src/report/html-page.js';

test('a page holds its title, style and body, and nothing from elsewhere', () => {
  const page = htmlPage({ title: 'A < B', body: '<h1>Hello</h1>', style: '.x { fill: red; }' });
  expect(page).toMatch(/^<!doctype html>/);
  expect(page).toContain('<title>A &#60; B</title>');
  expect(page).toContain('.x { fill: red; }</style>');
  expect(page).toContain('<body>\n<h1>Hello</h1>\n</body>');
  expect(page).not.toMatch(/\b(src|href)=|https?:|undefined/);
});

test('text is escaped for tags and attributes', () => {
  expect(escapeHtml('<a href="b">&c')).toBe('&#60;a href=&#34;b&#34;&#62;&#38;c');
});
