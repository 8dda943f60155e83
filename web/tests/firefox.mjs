/**
 * A page in a stock Firefox, by WebDriver BiDi: what it says, what it asks for, what it looks like, what it computes.
 *
 *   npm install --no-save puppeteer-core@25.16.0
 *   SDSEG_FIREFOX=/usr/bin/firefox-esr node tests/firefox.mjs segment.html OUTPUT [FILE …]
 *
 * The files are given together, as a series is; without any, the page's sample. OUTPUT gets page-1280.png, page-360.png,
 * and probability.f32: [slices, structures, rows, columns] at the native size, little-endian. Ends with an error where
 * the page says anything on its console, asks for anything beyond itself, or refuses the files.
 */

import { mkdir, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

import { launch } from "puppeteer-core";

const PATIENCE = 300_000; // ms
const [pageFile, output, ...files] = process.argv.slice(2);
if (output === undefined) throw new Error("name a page and a folder for what comes out");
await mkdir(output, { recursive: true });

const browser = await launch({
  browser: "firefox",
  executablePath: process.env.SDSEG_FIREFOX ?? "/usr/bin/firefox",
  protocolTimeout: PATIENCE,
});
const problems = [];
try {
  const page = await browser.newPage();
  const address = pathToFileURL(resolve(pageFile)).href;
  page.on("console", (message) => problems.push(`console: ${message.text()}`));
  page.on("pageerror", (error) => problems.push(`error: ${error.message}`));
  page.on("request", (request) => {
    const url = request.url();
    if (url !== address && !/^(blob|data):/.test(url)) problems.push(`request: ${url}`);
  });
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(address);
  console.log(await browser.version(), await ready(page));
  if (files.length === 0) await page.click("#try-sample");
  else await (await page.$("#files")).uploadFile(...files);
  console.log(await ready(page));
  for (const width of [1280, 360]) {
    await page.setViewport({ width, height: 900 });
    await new Promise((done) => setTimeout(done, 500));
    await page.screenshot({ path: resolve(output, `page-${width}.png`), fullPage: true });
  }
  const text = await page.evaluate(async () => {
    const values = await sdseg.run("nativeProbability", null);
    const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
    let binary = "";
    for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
    return btoa(binary);
  });
  await writeFile(resolve(output, "probability.f32"), Buffer.from(text, "base64"));
} finally {
  await browser.close();
}
if (problems.length > 0) throw new Error(problems.join("\n"));

async function ready(page) {
  const end = Date.now() + PATIENCE;
  while (!(await page.evaluate(() => globalThis.sdseg?.isReady() ?? false))) {
    if (Date.now() > end) break;
    await new Promise((done) => setTimeout(done, 200));
  }
  const message = await page.$eval("#message", (element) => element.textContent);
  if (message !== "") throw new Error(message);
  return page.$eval("#status", (element) => element.textContent);
}
