// The user's page. It signs in like any client, keeps the access token in this tab alone, and builds
// every view from what /_comity/client/v1 answers. All text is set as text, never as markup: names
// come from strangers. To translate the page, translate TEXT.

const TEXT = {
	title: "Who may reach me",
	skip: "Skip to the content",
	menu: "Sections",
	signOut: "Sign out",
	forget: "Close",
	signedOut: "You are signed out.",
	closed: "This page has forgotten your sign-in. Your app stays signed in.",
	sessionEnded: "Your sign-in has ended. Please sign in again.",
	loading: "Loading",
	cancel: "Cancel",
	close: "Close",
	save: "Save",
	saved: "Saved.",
	views: {
		overview: "Overview",
		requests: "Message requests",
		people: "People and servers",
		details: "Detailed settings",
		servers: "Other servers",
		history: "History",
		invitations: "Invitation links",
		account: "My data",
	},
	signIn: {
		title: "Sign in",
		lead: (host) => `See and change who may reach you on ${host}.`,
		user: "User name",
		password: "Password",
		submit: "Sign in",
		device: "Consent page",
	},
	errors: {
		network: "The server did not answer. Check your connection and try again.",
		unknown: "That did not work, and the server did not say why. Please try again.",
		unavailable: "This server does not offer this.",
		wait: (seconds) => `Too many tries. Please wait ${seconds} seconds and try again.`,
		view: "This part could not be loaded",
		again: "Try again",
	},
	presets: {
		open: ["Everyone", "Anyone can write to me, add me to groups, send me files and call me."],
		known: ["People I know", "My contacts and people in my rooms reach me at once; anyone else has to ask first."],
		ask: ["Ask me first", "Only my contacts reach me at once; anyone else has to ask first."],
		closed: ["My contacts only", "Only my contacts reach me; anyone else is turned away."],
	},
	tiers: {
		contact: "My contacts",
		shared_room: "People in my rooms",
		contact_of_contact: "Contacts of my contacts",
		known_server: "Others on servers I know",
		stranger: "Strangers",
	},
	scopes: {
		message: "Messages",
		group: "Group invitations",
		media: "Pictures and files",
		call: "Calls",
		presence: "See when I am online",
		typing: "See when I am typing",
		receipts: "See what I have read",
		federation: "Other servers",
	},
	answers: { allow: "Allow", ask: "Ask", block: "Block" },
	states: {
		granted: "Allowed",
		denied: "Blocked",
		revoked: "Blocked",
		asked: "Has asked",
		cleared: "Choice removed",
	},
	overview: {
		lead: "One choice covers messages, groups, files and calls. You can change it at any time.",
		legend: "Who may reach me?",
		own: "You have made choices of your own in the detailed settings. Choosing here replaces them.",
		fixed: "This server decides some of this for everyone; what it decides cannot be changed here.",
		saved: (name) => `Saved. From now on: ${name}.`,
		waiting: "Waiting for your answer",
		requests: (n) => (n === 0 ? "Nobody is waiting." : n === 1 ? "1 message request." : `${n} message requests.`),
		answer: "Answer them",
		details: "Choose for each group of people",
	},
	requests: {
		lead:
			"People you do not know who would like to reach you. They are not told whether you have seen" +
			" their request. Pictures and names that they chose are not shown here.",
		tabs: {
			pending: "Waiting",
			blocked: "Blocked",
			declined: "Declined",
			accepted: "Accepted",
			expired: "Expired",
		},
		tabList: "Which requests",
		empty: {
			pending: "Nobody is waiting for your answer.",
			blocked: "You have blocked nobody who asked.",
			declined: "You have declined nobody.",
			accepted: "You have accepted nobody yet.",
			expired: "No request has expired unanswered.",
		},
		wants: { message: "Would like to write to you.", group: "Invites you to a group." },
		other: "Would like to reach you.",
		tier: "How you know them",
		tiers: {
			contact: "A contact of yours",
			shared_room: "You are in a room together",
			contact_of_contact: "A contact of one of your contacts",
			known_server: "From this server, or one that you know",
			stranger: "Not at all",
		},
		server: "Their server",
		first: "First asked",
		attempts: "Times asked",
		expires: "Expires",
		answered: "Answered",
		warned: (reason) => `The people who run this server have blocked this one. ${reason}`,
		accept: "Accept",
		decline: "Decline",
		block: "Decline and block",
		report: "Decline and report",
		name: (verb, who) => `${verb} ${who}`,
		fromServer: (n, server) => `${n} requests from ${server}`,
		all: (n) => `All ${n} requests`,
		allFrom: {
			accept: "Accept all",
			decline: "Decline all",
			block: "Decline and block all",
		},
		sure: {
			accept: (what) => `Accept ${what}? All of them can then reach you.`,
			decline: (what) => `Decline ${what}? They can ask again later.`,
			block: (what) => `Decline and block ${what}? They cannot reach you again until you unblock them.`,
		},
		allFromServer: (n, server) => `the ${n} requests from ${server}`,
		allThere: (n) => `all ${n} requests`,
		reportTitle: "Decline and report",
		reportText: (who) => `The people who run this server will be told about ${who}.`,
		reason: "What is wrong? (you may leave this empty)",
		done: {
			accept: (n) => (n === 1 ? "Accepted." : `${n} requests accepted.`),
			decline: (n) => (n === 1 ? "Declined." : `${n} requests declined.`),
			block: (n) => (n === 1 ? "Declined and blocked." : `${n} requests declined and blocked.`),
			report: () => "Declined and reported.",
		},
		reported: "Reported to the people who run this server.",
		again: "Let them ask again",
		allow: "Allow them",
		lifted: "No longer blocked.",
		cleared: (who) => `${who} can ask again.`,
		allowed: (who) => `${who} can reach you.`,
		blockedHint: "All the people and servers that you have blocked are under",
	},
	people: {
		lead: "Your own choices about one person or one server. They come before your general choice.",
		add: "Add a choice",
		peer: "Person or server",
		peerHint: "For example @anna:example.org, or example.org for everyone on that server",
		what: "For what",
		everything: "Everything",
		answer: "Your choice",
		allow: "Allow",
		block: "Block",
		until: "Until (leave empty for always)",
		list: "Your choices",
		filter: "Find in this list",
		empty: "You have made no choice about a person or a server yet.",
		noMatch: "Nothing in this list matches.",
		columns: ["Who", "For what", "Choice", "Until", "Since", "Change"],
		always: "Always",
		unblock: "Unblock",
		remove: "Remove",
		edit: "Set end date",
		editTitle: (who) => `Until when? ${who}`,
		everyone: "Everyone",
		allowed: (who) => `${who} is allowed.`,
		blocked: (who) => `${who} is blocked.`,
		removed: (who) => `Removed. Your general choice now applies to ${who}.`,
		more: "Show more",
		asked: (scope, who) => `${scope} from ${who} are held back. Do you want them?`,
		askedYes: "Yes, show them",
		askedNo: "No, keep them back",
		askedDone: "Saved. Now go back to your app.",
	},
	details: {
		lead: "Choose for each group of people what they may do. Changes count once you save.",
		caption: "What each group of people may do",
		scope: "What",
		preset: "Set all to",
		own: "My own mix",
		cell: (scope, tier) => `${scope}: ${tier}`,
		fixed: "(decided by this server)",
		nothing: "Nothing has changed.",
		groups: "Who is who?",
		meaning: {
			contact: "People whom you have accepted or written to first.",
			shared_room: "People in a room that you are in too.",
			contact_of_contact: "People who are a contact of one of your contacts on this server.",
			known_server: "Others on this server, and on servers from which somebody is in a room with you.",
			stranger: "Everyone else.",
		},
	},
	servers: {
		lead:
			"When you write to somebody on another server, your message, your user name and your display" +
			" name are sent to that server and kept there. This server cannot take them back.",
		granted: "You have agreed: you can write to people on other servers.",
		none: "You have not agreed yet: your messages stay on this server.",
		revoked: "You do not agree: your messages stay on this server.",
		free: "This server does not ask: you can write to people on other servers until you object.",
		agree: "I agree: let me write to other servers",
		refuse: "I do not agree: keep me to this server",
		agreed: "You have agreed.",
		refused: "Your messages now stay on this server.",
		exceptions: "Exceptions",
		exceptionsText: "A choice for one server comes before the choice above.",
		name: "Server name",
		nameHint: "For example example.org",
		addAllow: "Let me write there",
		addBlock: "Never send there",
		columns: ["Server", "Choice", "Until", "Change"],
		allowed: "Allowed",
		blocked: "Never",
		check: "Look up a server",
		checkText: "See whether the people who run this server have blocked another one, and why.",
		checkSubmit: "Look up",
		open: (name) => `${name} is not blocked by this server.`,
		closed: (name) => `${name} is blocked by this server.`,
		reason: "Reason",
		source: "Taken from",
		since: "Since",
		until: "Until",
	},
	history: {
		lead: "Every choice that was made for your account, the newest first. Nothing here is erased.",
		caption: "Changes",
		columns: ["When", "Who", "For what", "Choice", "How"],
		empty: "Nothing has been changed yet.",
		more: "Show older changes",
		end: "These are all the changes.",
		added: (n) => `${n} older changes added to the list.`,
		until: "until",
		how: {
			page: "On a page of this server",
			client: "Here or in an app",
			invite: "They invited you",
			"accepted invite": "You accepted their invitation",
			"wrote first": "You wrote first",
			invitation: "By a link to this server",
		},
	},
	invitations: {
		lead: "A link by which somebody you trust can make an account on this server.",
		disabled: "On this server members do not invite. Ask the people who run it for an account.",
		make: "Make a link",
		note: "For whom? (only you see this)",
		uses: "How many people may use it",
		days: "Valid for how many days",
		made: "Your link is ready.",
		copy: "Copy the link",
		copied: "Copied.",
		showQr: "Show as QR code",
		qr: (link) => `QR code of ${link}`,
		list: "Your links",
		empty: "You have made no link yet.",
		states: { open: "Open", used: "Used up", expired: "Expired", revoked: "Withdrawn" },
		nobody: "Nobody yet",
		columns: ["Link", "State", "Used by", "Valid until", "Change"],
		revoke: "Withdraw",
		revoked: "Withdrawn. The link no longer works.",
	},
	account: {
		lead: "Take your data with you, or end your account.",
		copy: "A copy of my data",
		copyText:
			"Everything that this server has of you, as one file: your messages, files, settings, contacts and" +
			" choices. Putting it together may take a while; you can leave this page meanwhile.",
		ask: "Put a copy together",
		asked: "Your copy is being put together.",
		ready: "Your copy is ready.",
		states: {
			queued: "Waiting to begin",
			running: "Being put together",
			ready: "Ready",
			failed: "Did not work",
			expired: "Deleted after its time",
		},
		size: (bytes) => `${new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 }).format(bytes / 1e6)} MB`,
		columns: ["Asked for", "State", "Size", "Kept until", "Download"],
		download: "Download",
		downloaded: "Your browser has saved the file.",
		remove: "Delete my account",
		removeText:
			"This cannot be undone, and nobody can ever use your name again. You leave all your rooms." +
			" Your settings, choices and devices are deleted; what you wrote stays with those who received it.",
		erase: "Also hide what I wrote from people who join later, and delete my files where nobody needs them",
		confirm: (userId) => `To confirm, type ${userId}`,
		mismatch: (userId) => `That is not your user ID. Type ${userId}.`,
		removed: "Your account is deleted.",
	},
};

const API = "client/v1";
const MATRIX = "../_matrix/client/v3";
const DAY_MS = 24 * 3600 * 1000;
const PAGE_SIZE = 50;
const REACH = ["message", "group", "media", "call"];
const OUTGOING = ["presence", "typing", "receipts"];
const TIER_ANSWERS = { granted: "allow", asked: "ask", denied: "block" };
const DECIDED = { granted: "allow", denied: "block", revoked: "block" };

// ---------------------------------------------------------------- elements

function h(tag, attributes, ...children) {
	const element = document.createElement(tag);
	for (const [name, value] of Object.entries(attributes ?? {})) {
		if (value === undefined || value === null || value === false) continue;
		if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
		else element.setAttribute(name, value === true ? "" : value);
	}
	element.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
	return element;
}

const [p, span, strong, div, mono, li] = ["p", "span", "strong", "div", "code", "li"].map(
	(tag) =>
		(...children) =>
			h(tag, null, children),
);
const lead = (text) => h("p", { class: "lead" }, text);
const actions = (...children) => h("div", { class: "actions" }, children);
const fields = (...children) => h("div", { class: "fields" }, children);
const card = (title, ...children) => h("section", { class: "card" }, title && h("h2", null, title), children);
// a heading that takes the focus after a change to what is below it
const heading = (id, text) => h("h2", { id, tabindex: "-1" }, text);
const facts = (pairs) =>
	h(
		"dl",
		null,
		pairs.filter(Boolean).map(([name, value]) => [h("dt", null, name), h("dd", null, value)]),
	);

const $ = (selector) => document.querySelector(selector);
const who = (name) => h("bdi", null, name);
let ids = 0;
const newId = () => `i${(ids += 1)}`;

function button(text, onclick, attributes) {
	return h("button", { type: "button", onclick: (event) => onclick(event.currentTarget), ...attributes }, text);
}

function field(label, control, hint) {
	const id = newId();
	control.id = id;
	if (hint) control.setAttribute("aria-describedby", `${id}h`);
	return h(
		"div",
		{ class: "field" },
		h("label", { for: id }, label),
		hint && h("p", { class: "hint", id: `${id}h` }, hint),
		control,
	);
}

// For a name that nobody's spelling checker should touch.
const nameInput = (name, attributes) =>
	h("input", {
		name,
		required: true,
		autocapitalize: "none",
		spellcheck: "false",
		maxlength: "255",
		...attributes,
	});
const passwordInput = () =>
	h("input", { name: "password", type: "password", autocomplete: "current-password", required: true });

function select(name, options, chosen, attributes) {
	return h(
		"select",
		{ name, ...attributes },
		options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
	);
}

// A table with a heading per column; on a narrow screen each row is a card, so roles are explicit.
function table(caption, columns, rows, attributes) {
	return h(
		"table",
		{ role: "table", ...attributes },
		h("caption", null, caption),
		h(
			"thead",
			{ role: "rowgroup" },
			h(
				"tr",
				{ role: "row" },
				columns.map((c) => h("th", { role: "columnheader", scope: "col" }, c)),
			),
		),
		h(
			"tbody",
			{ role: "rowgroup" },
			rows.map((cells) => row(columns, cells)),
		),
	);
}

function row(columns, cells) {
	const [first, ...rest] = cells;
	return h(
		"tr",
		{ role: "row" },
		h("th", { role: "rowheader", scope: "row" }, first),
		rest.map((cell, index) => h("td", { role: "cell", "data-label": columns[index + 1] }, cell)),
	);
}

// A form whose failure is said above its buttons, where the reader is.
function form(children, submit, work, attributes) {
	const error = h("p", { class: "error", role: "alert" });
	const save = h("button", { class: "primary" }, submit);
	const element = h(
		"form",
		{
			...attributes,
			onsubmit: async (event) => {
				event.preventDefault();
				error.textContent = "";
				await busy(save, async () => {
					try {
						await work(Object.fromEntries(new FormData(element)), element);
					} catch (problem) {
						error.textContent = words(problem);
					}
				});
			},
		},
		children,
		error,
		actions(save),
	);
	return element;
}

async function busy(control, work) {
	if (control.getAttribute("aria-disabled") === "true") return;
	control.setAttribute("aria-disabled", "true");
	hush();
	try {
		await work();
	} finally {
		control.removeAttribute("aria-disabled");
	}
}

// A change begun by a button: make it, show the view anew, say what was done.
function act(control, work, said, focus) {
	return busy(control, async () => {
		try {
			const result = await work();
			await show({ focus });
			say(typeof said === "string" ? said : said(result));
		} catch (problem) {
			complain(problem);
		}
	});
}

const doer = (text, work, said, focus, attributes) =>
	button(text, (control) => act(control, work, said, focus), attributes);

// A question in a dialog; what was entered, or null if it was cancelled.
function question({ title, text, submit, danger, plain, fields = [] }) {
	return new Promise((resolve) => {
		const id = newId();
		let answer = null;
		const dialog = h(
			"dialog",
			{ "aria-labelledby": id, onclose: () => (dialog.remove(), resolve(answer)) },
			h("h2", { id }, title),
			text && p(text),
			h(
				"form",
				{
					onsubmit: (event) => {
						event.preventDefault();
						answer = Object.fromEntries(new FormData(event.currentTarget));
						dialog.close();
					},
				},
				fields,
				actions(
					h("button", { class: danger ? "danger primary" : "primary" }, submit),
					!plain && button(TEXT.cancel, () => dialog.close()),
				),
			),
		);
		document.body.append(dialog);
		dialog.showModal();
	});
}

// ---------------------------------------------------------------- saying what happened

let hushing = 0;

function hush() {
	clearTimeout(hushing);
	$("#status").textContent = "";
	$("#alert").textContent = "";
}

function say(text) {
	hush();
	// a moment later, so that the same words twice are read out twice
	setTimeout(() => ($("#status").textContent = text), 50);
	hushing = setTimeout(hush, 12_000);
}

function complain(problem) {
	hush();
	$("#alert").textContent = words(problem);
}

function words(problem) {
	if (problem instanceof Failure) return problem.message;
	console.error(problem);
	return TEXT.errors.unknown;
}

// ---------------------------------------------------------------- the server

class Failure extends Error {
	constructor(text, status = 0, errcode = "") {
		super(text);
		this.status = status;
		this.errcode = errcode;
	}
}

async function request(method, path, body, signedIn = true) {
	const headers = {};
	if (signedIn) headers.Authorization = `Bearer ${session.token}`;
	if (body !== undefined) headers["Content-Type"] = "application/json";
	let response;
	try {
		const sent = body === undefined ? undefined : JSON.stringify(body);
		response = await fetch(path, { method, headers, body: sent, cache: "no-store", credentials: "omit" });
	} catch {
		throw new Failure(TEXT.errors.network);
	}
	if (response.ok) return response;
	throw await failure(response, signedIn);
}

async function failure(response, signedIn) {
	const answer = await response.json().catch(() => ({}));
	const { errcode = "", error, retry_after_ms: wait } = answer;
	if (signedIn && ["M_UNKNOWN_TOKEN", "M_MISSING_TOKEN", "M_USER_DEACTIVATED"].includes(errcode)) {
		end(TEXT.sessionEnded);
	}
	if (response.status === 429) {
		return new Failure(TEXT.errors.wait(Math.ceil((wait ?? 5000) / 1000)), 429, errcode);
	}
	const text = errcode === "M_UNRECOGNIZED" ? TEXT.errors.unavailable : sentence(error);
	return new Failure(text, response.status, errcode);
}

function sentence(text) {
	if (typeof text !== "string" || text === "") return TEXT.errors.unknown;
	return /[.!?]$/.test(text) ? text : `${text}.`;
}

const api = async (method, path, body) => (await request(method, API + path, body)).json();
const consentPath = (scope, peer) => `/consent/${encodeURIComponent(scope)}/${encodeURIComponent(peer)}`;
const setRow = (scope, peer, state, expires_at = null) =>
	api("PUT", consentPath(scope, peer), { state, expires_at });

async function setRows(scopes, peer, state, expires_at = null) {
	for (const scope of scopes) await setRow(scope, peer, state, expires_at);
}

// ---------------------------------------------------------------- the session: this tab alone

const KEPT = "comity.session";
const session = { token: null, own: false, userId: "" };

function keep(token, own) {
	Object.assign(session, { token, own, userId: "" });
	sessionStorage.setItem(KEPT, JSON.stringify({ token, own }));
}

function forget() {
	Object.assign(session, { token: null, own: false, userId: "" });
	sessionStorage.removeItem(KEPT);
}

// "#token=...": a client hands over its own access token. It leaves the address bar at once.
function takeToken() {
	const given = new URLSearchParams(location.hash.slice(1));
	const token = given.get("token");
	if (!token) return false;
	const view = given.get("view");
	history.replaceState(null, "", location.pathname + location.search + (view ? `#${view}` : ""));
	keep(token, false);
	return true;
}

function end(text) {
	forget();
	signIn(text);
}

async function signOut(control) {
	await busy(control, async () => {
		if (!session.own) return end(TEXT.closed);
		try {
			await request("POST", `${MATRIX}/logout`, {});
			end(TEXT.signedOut);
		} catch (problem) {
			if (session.token) complain(problem);
		}
	});
}

function signIn(text = "") {
	$("#app").replaceChildren(
		h(
			"main",
			{ class: "plain", id: "main" },
			h("h1", { tabindex: "-1" }, TEXT.title),
			h("p", { class: "lead" }, TEXT.signIn.lead(location.hostname)),
			form(
				[
					field(TEXT.signIn.user, nameInput("user", { autocomplete: "username" })),
					field(TEXT.signIn.password, passwordInput()),
				],
				TEXT.signIn.submit,
				async ({ user, password }) => {
					const answer = await request(
						"POST",
						`${MATRIX}/login`,
						{
							type: "m.login.password",
							identifier: { type: "m.id.user", user: user.trim() },
							password,
							initial_device_display_name: TEXT.signIn.device,
						},
						false,
					);
					keep((await answer.json()).access_token, true);
					await start({ focus: "h1" });
				},
				{ class: "card" },
			),
		),
	);
	document.title = `${TEXT.signIn.title} - ${TEXT.title}`;
	if (text) {
		say(text);
		$("h1").focus();
	}
}

// ---------------------------------------------------------------- frame and views

const VIEWS = { overview, requests, people, details, servers, history: changes, invitations, account };
let turn = 0;

async function start(options) {
	turn += 1;
	try {
		const { user_id: userId } = await (await request("GET", `${MATRIX}/account/whoami`)).json();
		session.userId = userId;
		session.server = userId.slice(userId.indexOf(":") + 1);
	} catch (problem) {
		if (!session.token) return;
		throw problem;
	}
	$("#app").replaceChildren(
		h(
			"a",
			{ class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), $("h1").focus()) },
			TEXT.skip,
		),
		h(
			"header",
			{ class: "top" },
			h(
				"div",
				null,
				p(strong(TEXT.title), who(session.userId)),
				button(session.own ? TEXT.signOut : TEXT.forget, signOut),
			),
		),
		h(
			"div",
			{ class: "frame" },
			h(
				"nav",
				{ class: "menu", "aria-label": TEXT.menu },
				h(
					"ul",
					null,
					Object.keys(VIEWS).map((name) => li(menuLink(name))),
				),
			),
			h("main", { id: "main" }),
		),
	);
	await show(options);
}

function menuLink(name) {
	const count = name === "requests" && h("span", { class: "count" });
	return h("a", { href: `#${name}`, "data-view": name }, TEXT.views[name], count && [" ", count]);
}

function place() {
	const [name, ...rest] = location.hash.slice(1).split("/");
	if (Object.hasOwn(VIEWS, name)) return [name, rest];
	return [location.search.includes("peer=") ? "people" : "overview", []];
}

// Show the view that the address names; `focus` says where the reader goes on.
async function show({ focus } = {}) {
	const mine = (turn += 1);
	const main = $("#main");
	const [name, rest] = place();
	main.setAttribute("aria-busy", "true");
	for (const link of document.querySelectorAll("nav.menu a")) {
		if (link.dataset.view === name) link.setAttribute("aria-current", "page");
		else link.removeAttribute("aria-current");
	}
	const heading = h("h1", { tabindex: "-1" }, TEXT.views[name]);
	let nodes;
	try {
		nodes = await VIEWS[name](...rest);
	} catch (problem) {
		if (!session.token) return;
		nodes = [
			h("p", { class: "note bad", role: "alert" }, strong(TEXT.errors.view, ". "), words(problem)),
			button(TEXT.errors.again, () => show({ focus: "h1" })),
		];
	}
	if (mine !== turn) return;
	main.replaceChildren(heading, ...nodes);
	main.removeAttribute("aria-busy");
	document.title = `${TEXT.views[name]} - ${TEXT.title}`;
	if (focus) ($(focus) ?? heading).focus();
}

function showCount(count) {
	const badge = $(".count");
	if (badge) badge.textContent = count > 0 ? String(count) : "";
}

const dates = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const time = (ms) => h("time", { datetime: new Date(ms).toISOString() }, dates.format(ms));
const days = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });
const day = (ms) => h("time", { datetime: new Date(ms).toISOString() }, days.format(ms));
const until = (ms) => (ms === null || ms === undefined ? TEXT.people.always : day(ms));

// The end of a day chosen in a date field, in the reader's own time; null for none.
function endOfDay(text) {
	if (!text) return null;
	const [year, month, day] = text.split("-").map(Number);
	return new Date(year, month - 1, day + 1).getTime() - 1;
}

function dateInput(value) {
	const local = (ms) => new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 10);
	return h("input", { type: "date", name: "until", min: local(Date.now()), value: value && local(value) });
}

function peerName(peer) {
	if (peer === "*") return TEXT.people.everyone;
	const [kind, name] = peer.split(":");
	return kind === "tier" && TEXT.tiers[name] ? TEXT.tiers[name] : who(peer);
}

// ---------------------------------------------------------------- overview

async function overview() {
	const [consent, waiting] = await Promise.all([api("GET", "/consent"), api("GET", "/requests?state=pending")]);
	showCount(waiting.requests.length);
	return [
		lead(TEXT.overview.lead),
		card(null, presetForm(consent), p(h("a", { href: "#details" }, TEXT.overview.details))),
		card(
			TEXT.overview.waiting,
			p(TEXT.overview.requests(waiting.requests.length)),
			waiting.requests.length > 0 && h("a", { class: "button", href: "#requests" }, TEXT.overview.answer),
		),
		card(
			TEXT.views.servers,
			p(federationState(consent.scopes.federation)),
			h("a", { href: "#servers" }, TEXT.views.servers),
		),
	];
}

function presetForm({ presets, scopes }) {
	const first = scopes.message.preset;
	const chosen = REACH.every((scope) => scopes[scope].preset === first) ? first : null;
	const fixed = REACH.some((scope) => scopes[scope].may_change === false);
	return form(
		[
			h(
				"fieldset",
				null,
				h("legend", null, TEXT.overview.legend),
				chosen === null && h("p", { class: "hint" }, TEXT.overview.own),
				fixed && h("p", { class: "hint" }, TEXT.overview.fixed),
				presets.map((preset) => {
					const [name, meaning] = TEXT.presets[preset] ?? [preset, ""];
					return h(
						"label",
						{ class: "choice" },
						h("input", {
							type: "radio",
							name: "preset",
							value: preset,
							checked: preset === chosen,
							required: true,
						}),
						span(strong(name), meaning),
					);
				}),
			),
		],
		TEXT.save,
		async ({ preset }) => {
			await api("PUT", "/consent", { preset });
			await show({ focus: `input[value=${preset}]` });
			say(TEXT.overview.saved(TEXT.presets[preset]?.[0] ?? preset));
		},
	);
}

// ---------------------------------------------------------------- message requests

async function requests(tab = "pending") {
	const state = Object.hasOwn(TEXT.requests.tabs, tab) ? tab : "pending";
	const { requests: found } = await api("GET", `/requests?state=${state}`);
	if (state === "pending") showCount(found.length);
	const servers = [...new Set(found.map((r) => r.server))];
	const warnings = state === "blocked" ? await warningsAbout(servers) : new Map();
	const blocked = ["blocked", "declined"].includes(state) ? await blockedPeers() : new Set();
	return [
		lead(TEXT.requests.lead),
		h(
			"nav",
			{ "aria-label": TEXT.requests.tabList },
			h(
				"ul",
				{ class: "tabs" },
				Object.entries(TEXT.requests.tabs).map(([name, text]) =>
					li(h("a", { href: `#requests/${name}`, "aria-current": name === state && "true" }, text)),
				),
			),
		),
		found.length === 0 && p(TEXT.requests.empty[state]),
		state === "pending" && found.length > 1 && answerAll(found),
		servers.map((server) =>
			serverRequests(
				found.filter((r) => r.server === server),
				state,
				warnings.get(server),
				blocked,
			),
		),
		state === "blocked" && p(TEXT.requests.blockedHint, " ", h("a", { href: "#people" }, TEXT.views.people), "."),
	]
		.flat()
		.filter(Boolean);
}

async function warningsAbout(servers) {
	const found = new Map();
	const look = async (server) => {
		const about = await lookUp(server).catch(() => null);
		if (about?.blocked) found.set(server, about.reason ?? "");
	};
	await Promise.all(servers.slice(0, 20).map(look));
	return found;
}

// Whom the reader has blocked as it stands now: what was blocked may have been unblocked since.
async function blockedPeers() {
	const { rows } = await api("GET", "/consent");
	return new Set(rows.filter((r) => r.scope === "message" && DECIDED[r.state] === "block").map((r) => r.peer));
}

const lookUp = (server) => api("GET", `/servers/${encodeURIComponent(server)}`);

function answerAll(found) {
	return card(TEXT.requests.all(found.length), bulkButtons({ all: true }, TEXT.requests.allThere(found.length)));
}

function bulkButtons(target, what) {
	const { allFrom, sure } = TEXT.requests;
	const ask = async (control, answer) => {
		const title = control.textContent;
		const agreed = await question({
			title,
			text: sure[answer](what),
			submit: title,
			danger: answer === "block",
		});
		if (agreed) await answerRequests(control, answer, target);
		else control.focus();
	};
	return actions(
		// one's own server is not blocked as a whole
		Object.entries(allFrom)
			.filter(([answer]) => answer !== "block" || target.server !== session.server)
			.map(([answer, text]) =>
				button(text, (control) => ask(control, answer), {
					"aria-label": `${text}: ${what}`,
					class: answer === "block" && "danger",
				}),
			),
	);
}

function answerRequests(control, answer, target, reason) {
	// the next request takes the place of this one, so that one key answers one after the other
	const cards = [...document.querySelectorAll("article.request")];
	const at = cards.indexOf(control.closest("article.request"));
	const next = at >= 0 ? (cards[at + 1] ?? cards[at - 1]) : undefined;
	const focus = next ? `#${CSS.escape(next.querySelector("h3").id)}` : "h1";
	return act(
		control,
		() => api("POST", "/requests/answer", { answer, ...target, ...(reason ? { reason } : {}) }),
		({ answered }) => TEXT.requests.done[answer](answered),
		focus,
	);
}

function serverRequests(found, state, warning, blocked) {
	const { server } = found[0];
	const id = newId();
	return h(
		"section",
		{ "aria-labelledby": id },
		h("h2", { id }, who(server)),
		warning !== undefined && h("p", { class: "note bad" }, TEXT.requests.warned(warning)),
		state === "pending" &&
			found.length > 1 &&
			bulkButtons({ server }, TEXT.requests.allFromServer(found.length, server)),
		found.map((r) => requestCard(r, state, warning === undefined ? blocked : null)),
	);
}

function requestCard(r, state, blocked) {
	const id = `r-${r.sender}`;
	return h(
		"article",
		{ class: "card request", "aria-labelledby": id },
		h("h3", { class: "who", id, tabindex: "-1" }, who(r.sender)),
		p(TEXT.requests.wants[r.scope] ?? TEXT.requests.other),
		facts([
			[TEXT.requests.tier, TEXT.requests.tiers[r.tier] ?? r.tier],
			[TEXT.requests.first, time(r.created_at)],
			[TEXT.requests.attempts, String(r.attempts)],
			state === "pending"
				? [TEXT.requests.expires, time(r.expires_at)]
				: [TEXT.requests.answered, time(r.updated_at)],
		]),
		r.reported && p(TEXT.requests.reported),
		state === "pending" && requestButtons(r),
		["blocked", "declined"].includes(state) && blocked && reviewButtons(r, blocked),
	);
}

function reviewButtons({ sender, scope }, blocked) {
	if (!blocked.has(sender)) return p(TEXT.requests.lifted);
	const set = (text, state, said) => {
		const change = () => setRows([...new Set(["message", scope])], sender, state);
		return doer(text, change, said(sender), "h1", { "aria-label": TEXT.requests.name(text, sender) });
	};
	return actions(
		set(TEXT.requests.again, "cleared", TEXT.requests.cleared),
		set(TEXT.requests.allow, "granted", TEXT.requests.allowed),
	);
}

function requestButtons({ sender }) {
	const { name } = TEXT.requests;
	const answer = (kind, attributes) =>
		button(TEXT.requests[kind], (control) => answerRequests(control, kind, { sender }), {
			"aria-label": name(TEXT.requests[kind], sender),
			...attributes,
		});
	const report = async (control) => {
		const given = await question({
			title: TEXT.requests.reportTitle,
			text: TEXT.requests.reportText(sender),
			submit: TEXT.requests.report,
			danger: true,
			fields: [field(TEXT.requests.reason, h("textarea", { name: "reason", rows: "3", maxlength: "1000" }))],
		});
		if (given) await answerRequests(control, "report", { sender }, given.reason.trim());
		else control.focus();
	};
	return actions(
		answer("accept", { class: "primary" }),
		answer("decline"),
		answer("block", { class: "danger" }),
		button(TEXT.requests.report, report, {
			class: "danger",
			"aria-label": name(TEXT.requests.report, sender),
		}),
	);
}

// ---------------------------------------------------------------- people and servers

async function people() {
	const { rows } = await api("GET", "/consent");
	const mine = grouped(rows.filter((r) => r.scope !== "federation" && Object.hasOwn(DECIDED, r.state)));
	return [
		lead(TEXT.people.lead),
		askedCard(),
		card(TEXT.people.add, addForm()),
		card(null, heading("choices", TEXT.people.list), peopleList(mine)),
	].filter(Boolean);
}

// A client was told that something of somebody is held back, and shows this page to decide on it.
function askedCard() {
	const { scope, peer } = Object.fromEntries(new URLSearchParams(location.search));
	if (!peer || !TEXT.scopes[scope] || scope === "federation") return null;
	const decide = (text, state, attributes) => {
		const change = async () => {
			await setRow(scope, peer, state);
			history.replaceState(null, "", `${location.pathname}#people`);
		};
		return doer(text, change, TEXT.people.askedDone, "#choices", attributes);
	};
	return card(
		TEXT.people.asked(TEXT.scopes[scope], peer),
		actions(decide(TEXT.people.askedYes, "granted", { class: "primary" }), decide(TEXT.people.askedNo, "denied")),
	);
}

// What holds for everything is one line, not four. Who may not write may do nothing else either.
function grouped(rows) {
	const lines = new Map();
	for (const r of rows) {
		const key = JSON.stringify([r.peer, DECIDED[r.state], r.expires_at, REACH.includes(r.scope) || r.scope]);
		lines.set(key, [...(lines.get(key) ?? []), r]);
	}
	return [...lines.values()]
		.flatMap((line) => {
			const all = line.length === REACH.length;
			return all ? [{ ...line[0], scopes: REACH }] : line.map((r) => ({ ...r, scopes: [r.scope] }));
		})
		.sort((a, b) => a.peer.localeCompare(b.peer));
}

function scopeName({ scopes: [scope, ...more], state }) {
	const everything = more.length > 0 || (scope === "message" && DECIDED[state] === "block");
	return everything ? TEXT.people.everything : (TEXT.scopes[scope] ?? scope);
}

function addForm() {
	const scopes = Object.entries(TEXT.scopes).filter(([scope]) => scope !== "federation");
	return form(
		[
			field(TEXT.people.peer, nameInput("peer"), TEXT.people.peerHint),
			fields(
				field(
					TEXT.people.answer,
					select(
						"state",
						[
							["denied", TEXT.people.block],
							["granted", TEXT.people.allow],
						],
						"denied",
					),
				),
				field(TEXT.people.what, select("scope", [["", TEXT.people.everything], ...scopes], "")),
				field(TEXT.people.until, dateInput()),
			),
		],
		TEXT.save,
		async ({ peer, scope, state, until: day }) => {
			const named = peer.trim();
			const scopes = state === "denied" ? ["message"] : REACH;
			await setRows(scope ? [scope] : scopes, named, state, endOfDay(day));
			await show({ focus: "#choices" });
			say(state === "granted" ? TEXT.people.allowed(named) : TEXT.people.blocked(named));
		},
	);
}

function peopleList(mine) {
	if (mine.length === 0) return p(TEXT.people.empty);
	const list = h("div");
	const filter = h("input", { type: "search", oninput: () => fill(PAGE_SIZE) });
	const fill = (count) => {
		const sought = filter.value.trim().toLowerCase();
		const fitting = mine.filter((r) => r.peer.toLowerCase().includes(sought));
		list.replaceChildren(
			fitting.length === 0
				? p(TEXT.people.noMatch)
				: table(TEXT.people.list, TEXT.people.columns, fitting.slice(0, count).map(peopleRow)),
			fitting.length > count ? button(TEXT.people.more, () => fill(count + PAGE_SIZE)) : "",
		);
	};
	fill(PAGE_SIZE);
	return [mine.length > 8 && field(TEXT.people.filter, filter), list];
}

function peopleRow(r) {
	return [
		peerName(r.peer),
		scopeName(r),
		TEXT.states[r.state] ?? r.state,
		until(r.expires_at),
		[day(r.created_at), h("br"), TEXT.history.how[r.how] ?? r.how],
		rowButtons(r),
	];
}

function rowButtons(r) {
	const blocked = r.state !== "granted";
	const label = (text) => `${text}: ${r.peer}, ${scopeName(r)}`;
	const set = (text, state, said, attributes) =>
		doer(text, () => setRows(r.scopes, r.peer, state), said(r.peer), "#choices", {
			"aria-label": label(text),
			...attributes,
		});
	return actions(
		!blocked && set(TEXT.people.block, "revoked", TEXT.people.blocked, { class: "danger" }),
		set(blocked ? TEXT.people.unblock : TEXT.people.remove, "cleared", TEXT.people.removed),
		button(TEXT.people.edit, (control) => changeUntil(control, r), { "aria-label": label(TEXT.people.edit) }),
	);
}

async function changeUntil(control, r) {
	const given = await question({
		title: TEXT.people.editTitle(r.peer),
		submit: TEXT.save,
		fields: [field(TEXT.people.until, dateInput(r.expires_at))],
	});
	if (given === null) return control.focus();
	const change = () => setRows(r.scopes, r.peer, r.state, endOfDay(given.until));
	return act(control, change, TEXT.saved, "#choices");
}

// ---------------------------------------------------------------- detailed settings

async function details() {
	const { preset_answers: presets, tiers, scopes } = await api("GET", "/consent");
	const names = Object.keys(scopes).filter((scope) => scopes[scope].answers);
	const columns = [TEXT.details.scope, TEXT.details.preset, ...tiers.map((tier) => TEXT.tiers[tier] ?? tier)];
	const rows = names.map((scope) => detailRow(scope, scopes[scope], presets, tiers));
	return [
		lead(TEXT.details.lead),
		form(
			[table(TEXT.details.caption, columns, rows, { class: "grid" })],
			TEXT.save,
			async (given) => {
				const changed = await saveDetails(given, scopes, names, tiers);
				await show({ focus: "h1" });
				say(changed ? TEXT.saved : TEXT.details.nothing);
			},
			{ class: "card" },
		),
		card(TEXT.details.groups, facts(tiers.map((tier) => [TEXT.tiers[tier], TEXT.details.meaning[tier]]))),
	];
}

// What others see of the reader is not asked for: they see it, or they do not.
const shownAnswer = (scope, answer) => (OUTGOING.includes(scope) && answer === "ask" ? "block" : answer);

function detailRow(scope, { answers, may_change: mayChange }, presets, tiers) {
	const name = TEXT.scopes[scope] ?? scope;
	const disabled = mayChange === false;
	const seen = OUTGOING.includes(scope);
	const choices = Object.entries(TEXT.answers).filter(([answer]) => !(seen && answer === "ask"));
	const mixes = Object.entries(presets).filter(([preset]) => !(seen && preset === "ask"));
	const controls = new Map(
		tiers.map((tier) => [
			tier,
			select(`${scope}|${tier}`, choices, shownAnswer(scope, answers[tier]), {
				"aria-label": TEXT.details.cell(name, TEXT.tiers[tier] ?? tier),
				disabled,
				onchange: () => (all.value = matching()),
			}),
		]),
	);
	const fits = (mix) => tiers.every((tier) => controls.get(tier).value === shownAnswer(scope, mix[tier]));
	const matching = () => mixes.find(([, mix]) => fits(mix))?.[0] ?? "";
	const fill = () => {
		if (all.value === "") return;
		for (const tier of tiers) controls.get(tier).value = shownAnswer(scope, presets[all.value][tier]);
	};
	const options = mixes.map(([preset]) => [preset, TEXT.presets[preset]?.[0] ?? preset]);
	const all = select(undefined, [["", TEXT.details.own], ...options], matching(), {
		"aria-label": TEXT.details.cell(name, TEXT.details.preset),
		disabled,
		onchange: fill,
	});
	return [[name, disabled && h("span", { class: "quiet" }, " ", TEXT.details.fixed)], all, ...controls.values()];
}

async function saveDetails(given, scopes, names, tiers) {
	let changed = false;
	for (const scope of names) {
		const answers = {};
		for (const tier of tiers) {
			const answer = given[`${scope}|${tier}`];
			if (answer && answer !== shownAnswer(scope, scopes[scope].answers[tier])) answers[tier] = answer;
		}
		if (Object.keys(answers).length === 0) continue;
		await api("PUT", `/consent/${scope}`, { answers });
		changed = true;
	}
	return changed;
}

// ---------------------------------------------------------------- other servers

function federationState({ state, required }) {
	if (state === "granted") return TEXT.servers.granted;
	if (state !== null) return TEXT.servers.revoked;
	return required ? TEXT.servers.none : TEXT.servers.free;
}

async function servers() {
	const { scopes, rows } = await api("GET", "/consent");
	const federation = scopes.federation;
	const exceptions = rows.filter((r) => r.scope === "federation" && r.peer !== "*" && r.state !== "cleared");
	const answer = (text, state, said, attributes) =>
		doer(text, () => setRow("federation", "*", state), said, "#agreement", attributes);
	return [
		lead(TEXT.servers.lead),
		h(
			"section",
			{ class: "card", id: "agreement", tabindex: "-1", "aria-label": TEXT.views.servers },
			p(strong(federationState(federation))),
			federation.may_change !== false &&
				actions(
					federation.state !== "granted" &&
						answer(TEXT.servers.agree, "granted", TEXT.servers.agreed, { class: "primary" }),
					(federation.state === null || federation.state === "granted") &&
						answer(TEXT.servers.refuse, "revoked", TEXT.servers.refused),
				),
		),
		federation.may_change !== false && serverExceptions(exceptions),
		serverLookup(),
	].filter(Boolean);
}

function serverExceptions(exceptions) {
	const remove = ({ peer }) => {
		const change = () => setRow("federation", peer, "cleared");
		const name = `${TEXT.people.remove}: ${peer}`;
		return doer(TEXT.people.remove, change, TEXT.people.removed(peer), "#exceptions", { "aria-label": name });
	};
	const cells = (r) => [
		who(r.peer),
		r.state === "granted" ? TEXT.servers.allowed : TEXT.servers.blocked,
		until(r.expires_at),
		remove(r),
	];
	return card(
		null,
		heading("exceptions", TEXT.servers.exceptions),
		p(TEXT.servers.exceptionsText),
		exceptions.length > 0 && table(TEXT.servers.exceptions, TEXT.servers.columns, exceptions.map(cells)),
		form(
			[
				field(TEXT.servers.name, nameInput("server"), TEXT.servers.nameHint),
				field(
					TEXT.people.answer,
					select(
						"state",
						[
							["granted", TEXT.servers.addAllow],
							["denied", TEXT.servers.addBlock],
						],
						"granted",
					),
				),
			],
			TEXT.save,
			async ({ server, state }) => {
				await setRow("federation", server.trim(), state);
				await show({ focus: "#exceptions" });
				say(TEXT.saved);
			},
		),
	);
}

function serverLookup() {
	const result = h("div", { role: "status" });
	return card(
		TEXT.servers.check,
		p(TEXT.servers.checkText),
		form(
			[field(TEXT.servers.name, nameInput("server"), TEXT.servers.nameHint)],
			TEXT.servers.checkSubmit,
			async ({ server }) => {
				const name = server.trim();
				result.replaceChildren();
				const about = await lookUp(name);
				result.replaceChildren(
					p(strong(about.blocked ? TEXT.servers.closed(name) : TEXT.servers.open(name))),
					about.blocked
						? facts([
								about.reason && [TEXT.servers.reason, about.reason],
								about.source && [TEXT.servers.source, about.source],
								about.since && [TEXT.servers.since, time(about.since)],
								about.expires_at && [TEXT.servers.until, time(about.expires_at)],
							])
						: "",
				);
			},
		),
		result,
	);
}

// ---------------------------------------------------------------- history

async function changes() {
	let next = null;
	const load = async () => {
		const from = next === null ? "" : `&from=${encodeURIComponent(next)}`;
		const answer = await api("GET", `/consent/history?limit=${PAGE_SIZE}${from}`);
		next = answer.next;
		return answer.changes.map(changeCells);
	};
	const first = await load();
	if (first.length === 0) return [p(TEXT.history.empty)];
	const list = table(TEXT.history.caption, TEXT.history.columns, first);
	const more = button(TEXT.history.more, (control) =>
		busy(control, async () => {
			try {
				const older = await load();
				list.tBodies[0].append(...older.map((cells) => row(TEXT.history.columns, cells)));
				if (next === null)
					control.replaceWith(h("p", { class: "quiet", tabindex: "-1", id: "end" }, TEXT.history.end));
				$("#end")?.focus();
				say(TEXT.history.added(older.length));
			} catch (problem) {
				complain(problem);
			}
		}),
	);
	return [lead(TEXT.history.lead), card(null, list, next !== null && more)];
}

function changeCells({ peer, scope, state, how, actor, created_at: at, expires_at: end }) {
	const answer = peer.startsWith("tier:") && TEXT.answers[TIER_ANSWERS[state]];
	const others = actor && actor !== session.userId;
	return [
		time(at),
		peerName(peer),
		TEXT.scopes[scope] ?? scope,
		[
			answer || (TEXT.states[state] ?? state),
			end && state !== "asked" && [", ", TEXT.history.until, " ", time(end)],
		],
		[TEXT.history.how[how] ?? how, others && [", ", who(actor)]],
	];
}

// ---------------------------------------------------------------- invitation links

async function invitations() {
	const answer = await api("GET", "/invitations");
	return [
		lead(TEXT.invitations.lead),
		answer.enabled ? invitationForm(answer) : h("p", { class: "note" }, TEXT.invitations.disabled),
		card(
			null,
			heading("links", TEXT.invitations.list),
			answer.invitations.length === 0
				? p(TEXT.invitations.empty)
				: table(TEXT.invitations.list, TEXT.invitations.columns, answer.invitations.map(invitationCells)),
		),
	];
}

function invitationForm({ max_days: most }) {
	const number = (name, value, max) => h("input", { type: "number", name, value, min: 1, max, required: true });
	return card(
		TEXT.invitations.make,
		form(
			[
				field(TEXT.invitations.note, h("input", { name: "note", maxlength: 200 })),
				fields(
					field(TEXT.invitations.uses, number("uses", 1, 100)),
					field(TEXT.invitations.days, number("days", Math.min(7, most), most)),
				),
			],
			TEXT.invitations.make,
			async ({ note, uses, days }) => {
				const body = { uses: Number(uses), expires_in_days: Number(days), note: note.trim() || null };
				const { code } = await api("POST", "/invitations", body);
				await show({ focus: `#${CSS.escape(`copy-${code}`)}` });
				say(TEXT.invitations.made);
			},
		),
	);
}

function invitationCells(invitation) {
	const { code, link, note, state, used, uses, used_by: usedBy } = invitation;
	const open = state === "open";
	const names = usedBy.map((use) => div(who(use.user_id)));
	return [
		[note && div(h("bdi", null, note)), open ? mono(link) : mono(code)],
		`${TEXT.invitations.states[state] ?? state} (${used}/${uses})`,
		names.length > 0 ? names : TEXT.invitations.nobody,
		time(invitation.expires_at),
		open && invitationButtons(invitation),
	];
}

function invitationButtons({ code, link, note }) {
	const label = (text) => `${text}: ${note ?? code}`;
	const copy = async () => {
		try {
			await navigator.clipboard.writeText(link);
			say(TEXT.invitations.copied);
		} catch {
			await question({
				title: TEXT.invitations.copy,
				fields: [p(mono(link))],
				submit: TEXT.close,
				plain: true,
			});
		}
	};
	const withdraw = () => api("DELETE", `/invitations/${code}`);
	return actions(
		button(TEXT.invitations.copy, copy, { id: `copy-${code}`, "aria-label": label(TEXT.invitations.copy) }),
		button(TEXT.invitations.showQr, (control) => showQr(control, code, link), {
			"aria-label": label(TEXT.invitations.showQr),
		}),
		doer(TEXT.invitations.revoke, withdraw, TEXT.invitations.revoked, "#links", {
			class: "danger",
			"aria-label": label(TEXT.invitations.revoke),
		}),
	);
}

async function showQr(control, code, link) {
	let address;
	await busy(control, async () => {
		try {
			const picture = await request("GET", `${API}/invitations/${code}/qr`);
			address = URL.createObjectURL(await picture.blob());
		} catch (problem) {
			complain(problem);
		}
	});
	if (!address) return;
	const image = h("img", { class: "qr", src: address, alt: TEXT.invitations.qr(link) });
	await question({ title: TEXT.invitations.showQr, fields: [image], submit: TEXT.close, plain: true });
	URL.revokeObjectURL(address);
	control.focus();
}

// ---------------------------------------------------------------- one's data, and the end

async function account() {
	const { exports: copies } = await api("GET", "/export");
	return [lead(TEXT.account.lead), copyCard(copies), removalForm()];
}

const UNDER_WAY = ["queued", "running"];
const underWay = (copies) => copies.some(({ state }) => UNDER_WAY.includes(state));

function copyCard(copies) {
	const list = div();
	const fill = (found) => list.replaceChildren(found.length === 0 ? "" : copyTable(found));
	fill(copies);
	if (underWay(copies)) watch(list, fill);
	return card(
		null,
		heading("copies", TEXT.account.copy),
		p(TEXT.account.copyText),
		list,
		actions(doer(TEXT.account.ask, () => api("POST", "/export", {}), TEXT.account.asked, "#copies")),
	);
}

function copyTable(copies) {
	const cells = (copy) => [
		time(copy.requested_at),
		TEXT.account.states[copy.state] ?? copy.state,
		copy.size_bytes === undefined ? "" : TEXT.account.size(copy.size_bytes),
		copy.expires_at ? time(copy.expires_at) : "",
		copy.state === "ready" && button(TEXT.account.download, (control) => download(control, copy)),
	];
	return table(TEXT.account.copy, TEXT.account.columns, copies.map(cells));
}

// Look again every few seconds, for as long as the list is on the page.
async function watch(list, fill) {
	for (;;) {
		await new Promise((resolve) => setTimeout(resolve, 2000));
		if (!list.isConnected) return;
		const copies = await api("GET", "/export")
			.then((answer) => answer.exports)
			.catch(() => null);
		if (!list.isConnected) return;
		if (copies === null) continue;
		fill(copies);
		if (!underWay(copies))
			return say(copies[0].state === "ready" ? TEXT.account.ready : TEXT.account.states.failed);
	}
}

async function download(control, { id, requested_at: asked }) {
	await busy(control, async () => {
		try {
			const file = await request("GET", `${API}/export/${encodeURIComponent(id)}`);
			const address = URL.createObjectURL(await file.blob());
			const date = new Date(asked).toISOString().slice(0, 10);
			h("a", { href: address, download: `comity-export-${date}.zip` }).click();
			setTimeout(() => URL.revokeObjectURL(address), 60_000);
			say(TEXT.account.downloaded);
		} catch (problem) {
			complain(problem);
		}
	});
}

function removalForm() {
	const { userId } = session;
	return card(
		TEXT.account.remove,
		p(TEXT.account.removeText),
		form(
			[
				h("label", { class: "choice" }, h("input", { type: "checkbox", name: "erase" }), span(TEXT.account.erase)),
				field(TEXT.account.confirm(userId), nameInput("confirmation", { autocomplete: "off" })),
				field(TEXT.signIn.password, passwordInput()),
			],
			TEXT.account.remove,
			async ({ erase, confirmation, password }) => {
				if (confirmation.trim() !== userId) throw new Failure(TEXT.account.mismatch(userId));
				const identifier = { type: "m.id.user", user: userId };
				const auth = { type: "m.login.password", identifier, password };
				await request("POST", `${MATRIX}/account/deactivate`, { erase: erase === "on", auth });
				end(TEXT.account.removed);
			},
			{ class: "removal" },
		),
	);
}

// ---------------------------------------------------------------- begin

window.addEventListener("hashchange", () => {
	hush();
	if (takeToken()) begin();
	else if (session.token && $("#main")) show({ focus: "h1" });
});

async function begin() {
	try {
		await start();
	} catch (problem) {
		signIn();
		complain(problem);
	}
}

document.documentElement.lang = "en";
const kept = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
if (kept) Object.assign(session, kept);
takeToken();
if (session.token) begin();
else signIn();
