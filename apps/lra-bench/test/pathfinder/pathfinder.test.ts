import { describe, expect, test } from 'vitest';
import { drawScene } from '../../src/pathfinder/draw.js';
import { sceneOf } from '../../src/pathfinder/scene.js';
import { pathfinderSettings } from '../../src/pathfinder/settings.js';
import { answerKey, contactSheet } from '../../src/pathfinder/sheet.js';
import { Drawing, isJoined } from './follow-path.js';

describe.each(['pathfinder', 'path-x'] as const)('%s', (task) => {
  const settings = pathfinderSettings[task];
  const rows = task === 'pathfinder' ? 200 : 40;
  const scenes = Array.from({ length: rows }, (_, row) => sceneOf(settings, 11, 0, row));

  test('the label is what following the drawn dashes finds', () => {
    const { side, paddleThickness, paddleLength } = settings;
    const scale = task === 'pathfinder' ? 12 : 5;
    for (const { label, markers, snakes, margin } of scenes) {
      const drawing = new Drawing(side, scale);
      const paddles = snakes.flatMap((snake) => snake.paddles);
      for (const paddle of paddles) drawing.dash(paddle, paddleThickness);
      const dashes = drawing.dashes(paddleThickness);
      // Paddles never touch.
      expect(dashes).toHaveLength(paddles.length);
      expect(paddleLength).toBeGreaterThan(1);
      const slack = 1.5 / scale;
      const [from, to] = markers;
      expect(isJoined(dashes, from, to, margin + slack, 2 * margin + slack)).toBe(label === 1);
    }
  });

  test('both labels are as likely, and both long paths are whole', () => {
    const joined = scenes.filter(({ label }) => label === 1).length;
    expect(Math.abs(joined - rows / 2)).toBeLessThan(4 * Math.sqrt(rows / 4));
    for (const { snakes } of scenes) {
      for (const snake of snakes.slice(0, 2)) expect(snake.paddles).toHaveLength(settings.contourLength);
      for (const snake of snakes.slice(2))
        expect(snake.paddles.length).toBeLessThanOrEqual(settings.distractorLength);
      expect(snakes.length - 2).toBeLessThanOrEqual(settings.distractors);
    }
  });

  test('a picture is black but for its dashes and discs, and uses all levels', () => {
    for (const scene of scenes.slice(0, 5)) {
      const pixels = drawScene(scene, settings);
      expect(pixels).toHaveLength(settings.side ** 2);
      expect(Math.max(...pixels)).toBe(255);
      expect(pixels.filter((level) => level === 0).length).toBeGreaterThan(0.3 * pixels.length);
      for (const { x, y } of scene.markers)
        expect(pixels[Math.floor(y) * settings.side + Math.floor(x)]).toBeGreaterThan(150);
    }
  });

  test('equal seeds give equal pictures, wherever one begins', () => {
    const again = sceneOf(settings, 11, 0, 17);
    expect(drawScene(again, settings)).toEqual(drawScene(scenes[17] as typeof again, settings));
    expect(sceneOf(settings, 12, 0, 17)).not.toEqual(again);
  });

  test('a sheet shows the pictures, its key the answers', () => {
    const some = scenes.slice(0, 9);
    const [sheet, key] = [contactSheet(some, settings), answerKey(some, settings)];
    expect(sheet.data).toHaveLength(3 * sheet.width * sheet.height);
    expect([key.width, key.height]).toEqual([sheet.width, sheet.height]);
    expect(key.data).not.toEqual(sheet.data);
  });
});
