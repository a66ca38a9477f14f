// Looks at the status page in a headless Chromium, as a reader would, and says what it saw as JSON.
// node look.mjs <chromium> <folder for pictures> <axe.min.js>, with a list of looks on standard input:
// [{"name", "url", "key", "width", "height", "dark", "hours"}]
import { readFileSync } from "node:fs";
import { chromium } from "playwright-core";

const [executablePath, pictures, axePath] = process.argv.slice(2);
const looks = JSON.parse(readFileSync(0, "utf8"));
const axe = readFileSync(axePath, "utf8");
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const seen = {};
for (const look of looks) {
  const context = await browser.newContext({
    viewport: { width: look.width, height: look.height },
    isMobile: look.width < 600,
    hasTouch: look.width < 600,
    colorScheme: look.dark ? "dark" : "light",
  });
  const page = await context.newPage();
  const said = [];
  const requests = [];
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) said.push(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => said.push(`exception: ${error}`));
  page.on("request", (request) => {
    if (!request.url().startsWith("data:")) requests.push(request.url());
  });
  await page.goto(look.url);
  const asksFor = await page.locator("form h2").textContent();
  await page.keyboard.type(look.key); // the field has the focus: nothing needs a mouse
  await page.keyboard.press("Enter");
  await page.locator(look.key === "wrong" ? "#trouble:not([hidden])" : "article, #shards .trouble").first().waitFor();
  await page.waitForTimeout(400);
  if (look.hours) {
    await page.locator(`.choice button[data-hours="${look.hours}"]`).first().click();
    await page.waitForTimeout(400);
  }
  if (pictures !== "-") await page.screenshot({ path: `${pictures}/${look.name}.png`, fullPage: true });
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const found = await axe.run(document);
    return found.violations.map((each) => [each.impact, each.id, each.nodes[0].html.slice(0, 200)]);
  });
  seen[look.name] = {
    asksFor,
    said,
    requests,
    violations,
    text: await page.locator("body").innerText(),
    bridges: await page.locator("tbody tr").count(),
    charts: await page.locator("figure canvas").count(),
    overflow: await page.evaluate(() => document.documentElement.scrollWidth - innerWidth),
    scripted: await page.evaluate(() => globalThis.wasScripted === true),
    stored: await page.evaluate(() => [sessionStorage.length, localStorage.length]),
  };
  await context.close();
}
await browser.close();
process.stdout.write(JSON.stringify(seen));
